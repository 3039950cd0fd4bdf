"""Flyway's history, as its tables are documented."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pgdbm.migrations.importers import convert
from pgdbm.migrations.importers.flyway import checksum_of

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Database

TABLE = """
CREATE TABLE flyway_schema_history (
    installed_rank integer PRIMARY KEY,
    version varchar(50),
    description varchar(200) NOT NULL,
    type varchar(20) NOT NULL,
    script varchar(1000) NOT NULL,
    checksum integer,
    installed_by varchar(100) NOT NULL,
    installed_on timestamp NOT NULL DEFAULT now(),
    execution_time integer NOT NULL,
    success boolean NOT NULL
);
CREATE INDEX flyway_schema_history_s_idx ON flyway_schema_history (success);
"""
FILES = {
    "V1__users.sql": "CREATE TABLE users (\r\n  id int\r\n);\r\n",
    "V1_2__grüße.sql": "-- Grüße\nCREATE TABLE greetings ();\n",
    "V2.0__orders.sql": "CREATE TABLE orders ();",
    "V10__later.sql": "CREATE TABLE public.later ();",
    "R__views.sql": "CREATE OR REPLACE VIEW public.v AS SELECT 1 AS one;\n",
}


class History:
    """Writes rows as Flyway does."""

    def __init__(self, target: Database) -> None:
        self._target = target
        self._rank = 0

    async def add(
        self,
        version: str | None,
        script: str,
        kind: str = "SQL",
        *,
        checksum: int | None = None,
        success: bool = True,
    ) -> None:
        self._rank += 1
        await self._target.db.execute(
            "INSERT INTO public.flyway_schema_history VALUES"
            " ($1::integer, $2, $3, $4, $5, $6, 'deployer',"
            " '2024-03-01 10:00'::timestamp + $1::integer * interval '1 day', $7, $8)",
            self._rank,
            version,
            script.partition("__")[2].removesuffix(".sql"),
            kind,
            script,
            checksum,
            self._rank * 11,
            success,
        )

    async def applied(self, *scripts: str) -> None:
        for script in scripts:
            name = script.rpartition("/")[2]
            version = name[1:].partition("__")[0].replace("_", ".") or None
            await self.add(version, script, checksum=checksum_of(FILES[name]))


@pytest.fixture
async def history(target: Database) -> History:
    await target.run(TABLE)
    return History(target)


def test_the_checksum_ignores_line_endings() -> None:
    # The CRC-32 of "123456789" is 0xCBF43926: the usual check of an implementation.
    assert checksum_of("123456789") == 0xCBF43926 - 2**32
    assert checksum_of("12345\r\n6789\n") == checksum_of("12345\r6789") == checksum_of("123456789")
    assert checksum_of("") == 0
    assert checksum_of("é") != checksum_of("e")


async def test_versions_and_repeatables(target: Database, history: History) -> None:
    await history.applied("V1__users.sql", "nested/V1_2__grüße.sql", "R__views.sql")
    await history.add("2", "V2.0__orders.sql", checksum=checksum_of(FILES["V2.0__orders.sql"]))
    report = await target.take("flyway", FILES)
    assert set(report.imported) == set(FILES) - {"V10__later.sql"}
    assert set(report.checked) == set(report.imported)
    assert (report.unmatched, report.failed, report.pending) == ((), (), ("V10__later.sql",))
    row = (await target.rows())["V1_2__grüße.sql"]
    assert (row.applied_by, row.execution_time_ms) == ("deployer", 22)
    local = "SELECT to_char(applied_at, 'YYYY-MM-DD HH24:MI') FROM public.pgdbm_migrations WHERE filename = $1"
    assert await target.db.fetch_value(local, row.filename) == "2024-03-03 10:00"
    assert await target.apply(FILES) == ["V10__later.sql"]
    changed = {**FILES, "R__views.sql": "CREATE OR REPLACE VIEW public.v AS SELECT 1 AS one, 2 AS two;"}
    assert (await target.take("flyway", changed)).pending == ("R__views.sql",)
    assert await target.apply(changed) == ["R__views.sql"]


async def test_it_needs_no_local_time_zone_of_its_own(target: Database, history: History) -> None:
    await target.run("ALTER DATABASE " + target.dsn.rpartition("/")[2] + " SET timezone = 'Asia/Kolkata'")
    await history.applied("V1__users.sql")
    async with target.db.acquire() as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    await target.take("flyway", FILES)
    local = "SELECT applied_at::text FROM public.pgdbm_migrations"
    assert await target.db.fetch_value(local) == "2024-03-02 10:00:00"


async def test_a_changed_file_is_refused(target: Database, history: History) -> None:
    await history.applied("V1__users.sql", "V1_2__grüße.sql")
    changed = {**FILES, "V1__users.sql": FILES["V1__users.sql"].replace("int", "bigint")}
    error = await target.refusal("flyway", changed)
    assert (error.reason, error.files) == ("checksum", ("V1__users.sql",))
    assert "flyway repair" in str(error)
    # Different line ends are not a change: a checkout on another system is the same migration.
    same = {**FILES, "V1__users.sql": FILES["V1__users.sql"].replace("\r\n", "\n")}
    assert "V1__users.sql" in (await target.take("flyway", same)).checked


async def test_a_failed_version_is_refused(target: Database, history: History) -> None:
    await history.applied("V1__users.sql")
    await history.add("1.2", "V1_2__grüße.sql", checksum=1, success=False)
    error = await target.refusal("flyway", FILES)
    assert (error.reason, error.files) == ("failed", ("V1_2__grüße.sql",))
    assert "flyway repair" in str(error)
    assert (await target.refusal("flyway", FILES, dry_run=True)).reason == "failed"


async def test_a_failure_that_was_repaired_is_reported(target: Database, history: History) -> None:
    await history.add("1", "V1__users.sql", checksum=1, success=False)
    await history.applied("V1__users.sql")
    report = await target.take("flyway", FILES)
    assert (report.imported, report.failed) == (("V1__users.sql",), ("V1__users.sql",))


async def test_undone_and_deleted_versions_are_pending(target: Database, history: History) -> None:
    await history.applied("V1__users.sql", "V1_2__grüße.sql", "V2.0__orders.sql", "R__views.sql")
    await history.add("2.0", "U2.0__orders.sql", "UNDO_SQL")
    await history.add("1.2", "V1_2__grüße.sql", "DELETE")
    await history.add(None, "R__views.sql", "DELETE")
    report = await target.take("flyway", FILES)
    assert report.imported == ("V1__users.sql",)
    assert report.pending == ("V1_2__grüße.sql", "V2.0__orders.sql", "V10__later.sql", "R__views.sql")
    await history.applied("V2.0__orders.sql")
    assert (await target.take("flyway", FILES)).imported == ("V2.0__orders.sql",)


async def test_what_is_below_the_baseline_counts_as_applied(target: Database, history: History) -> None:
    await history.add("1.2", "<< Flyway Baseline >>", "BASELINE")
    await history.applied("V2.0__orders.sql")
    report = await target.take("flyway", FILES)
    assert report.imported == ("V1__users.sql", "V1_2__grüße.sql", "V2.0__orders.sql")
    assert report.checked == ("V2.0__orders.sql",)
    assert any("not above Flyway's baseline 1.2" in note for note in report.notes)
    assert report.unmatched == ()


async def test_a_baseline_script_is_not_run(target: Database, history: History) -> None:
    script = "CREATE TABLE everything ();"
    files = {**FILES, "B2__all.sql": script, "B10__all.sql": "CREATE TABLE nothing ();"}
    await history.add("2", "B2__all.sql", "SQL_BASELINE", checksum=checksum_of(script))
    report = await target.take("flyway", files)
    assert set(report.imported) == {
        "V1__users.sql",
        "V1_2__grüße.sql",
        "V2.0__orders.sql",
        "B2__all.sql",
        "B10__all.sql",
    }
    assert report.checked == ("B2__all.sql",)
    assert any("baseline scripts" in note for note in report.notes)


async def test_schemas_and_java_migrations(target: Database, history: History) -> None:
    await history.add(None, '"public"', "SCHEMA")
    await history.applied("V1__users.sql")
    await history.add("1.1", "db.migration.V1_1__Fill", "JDBC")
    report = await target.take("flyway", FILES)
    assert (report.imported, report.unmatched) == (("V1__users.sql",), ("db.migration.V1_1__Fill",))


async def test_a_changed_repeatable_is_pending(target: Database, history: History) -> None:
    await history.add(None, "R__views.sql", checksum=5)
    await history.applied("V1__users.sql")
    await history.add(None, "R__gone.sql", checksum=5)
    report = await target.take("flyway", FILES)
    assert report.imported == ("V1__users.sql",)
    assert report.unmatched == ("R__gone.sql",)
    assert "R__views.sql" in report.pending
    assert any(note.startswith("R__views.sql: a repeatable migration") for note in report.notes)


async def test_files_that_pgdbm_would_run_by_mistake_are_refused(target: Database, history: History) -> None:
    await history.applied("V1__users.sql")
    for name in ("U1__users.sql", "afterMigrate.sql", "beforeEachMigrate__log.sql"):
        error = await target.refusal("flyway", {**FILES, name: "DROP TABLE users"})
        assert (error.reason, error.files) == ("unconverted", (name,))


async def test_converted_files_keep_their_checksums(target: Database, history: History, tmp_path: Path) -> None:
    theirs, ours = tmp_path / "sql", tmp_path / "ours"
    index = "CREATE INDEX CONCURRENTLY i ON public.later (id);\n"
    for name, text in {
        **FILES,
        "deep/V11__index.sql": index,
        "V12__vacuum.sql": "SELECT 1;",
        "V12__vacuum.sql.conf": "executeInTransaction=false\n",
        "V13__filled.sql": "SELECT '${who}';",
        "U2.0__orders.sql": "DROP TABLE orders;",
        "U77__nothing.sql": "SELECT 1;",
        "afterMigrate.sql": "SELECT 1;",
        "V14__Code.java": "class",
    }.items():
        (theirs / name).parent.mkdir(parents=True, exist_ok=True)
        (theirs / name).write_bytes(text.encode())
    conversion = convert("flyway", theirs, ours)
    written = {path.name: path.read_bytes().decode() for path in ours.iterdir()}
    assert set(written) == {*FILES, "V11__index.sql", "V12__vacuum.sql", "V13__filled.sql", "V2.0__orders.down.sql"}
    assert set(conversion.written) == set(written)
    assert written["V11__index.sql"] == f"-- pgdbm:no-transaction\n{index}"
    assert written["V12__vacuum.sql"].startswith("-- pgdbm:no-transaction\n")
    for reported in (
        "V13__filled.sql: has Flyway placeholders",
        "U77__nothing.sql",
        "afterMigrate.sql",
        "V14__Code.java",
    ):
        assert any(note.startswith(reported) for note in conversion.notes), reported
    await history.applied(*(name for name in FILES if name != "V10__later.sql"))
    await history.add("11", "deep/V11__index.sql", checksum=checksum_of(index))
    report = await target.take("flyway", ours)
    assert "V11__index.sql" in report.checked
    assert report.pending == ("V10__later.sql", "V12__vacuum.sql", "V13__filled.sql")
    assert convert("flyway", theirs, ours) == conversion
