"""yoyo's history: written by yoyo where it is installed, and otherwise as its tables are documented."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from pgdbm.migrations.importers import convert

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Database, Program

TABLES = """
CREATE TABLE _yoyo_migration (
    migration_hash varchar(64) PRIMARY KEY, migration_id varchar(255), applied_at_utc timestamp
);
CREATE TABLE _yoyo_log (
    id varchar(36) PRIMARY KEY, migration_hash varchar(64), migration_id varchar(255), operation varchar(10),
    username varchar(255), hostname varchar(255), comment varchar(255), created_at_utc timestamp
);
"""
FILES = {
    "20240101_01_aBcDe-users.sql": "-- users\n-- depends:\nCREATE TABLE public.users (id int);\n",
    "20240101_01_aBcDe-users.rollback.sql": "DROP TABLE public.users;\n",
    "20240101_02_fGhIj-index.sql": (
        "-- depends: 20240101_01_aBcDe-users\n-- transactional: false\n"
        "CREATE INDEX CONCURRENTLY i ON public.users (id);\n"
    ),
    "20240102_01_kLmNo-later.sql": "-- depends: 20240101_02_fGhIj-index\nCREATE TABLE public.later ();\n",
}
OURS = ["20240101.01_aBcDe-users.sql", "20240101.02_fGhIj-index.sql", "20240102.01_kLmNo-later.sql"]


def write(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


async def applied(target: Database, *ids: str) -> None:
    """Rows as yoyo writes them."""
    for number, one in enumerate(ids, 1):
        digest = sha256(one.encode()).hexdigest()
        await target.run(
            f"INSERT INTO _yoyo_migration VALUES ('{digest}', '{one}', '2024-02-0{number} 12:00');"
            f"INSERT INTO _yoyo_log VALUES ('{number}', '{digest}', '{one}', 'apply', 'ada', 'host', '',"
            f" '2024-02-0{number} 12:00')"
        )


async def test_migrations_applied_by_yoyo_are_imported(target: Database, yoyo: Program) -> None:
    first, second, later = (name for name in FILES if not name.endswith(".rollback.sql"))
    theirs = write(yoyo.folder / "theirs", {name: text for name, text in FILES.items() if name != later})
    url = yoyo.url("postgresql+psycopg")
    yoyo.run("apply", "--batch", "--no-config-file", "--database", url, str(theirs))
    write(theirs, FILES)
    ours = yoyo.folder / "ours"
    assert convert("yoyo", theirs, ours).notes == ()
    report = await target.take("yoyo", ours)
    assert report.imported == tuple(OURS[:2])
    assert (report.unmatched, report.pending) == ((), tuple(OURS[2:]))
    times = "SELECT max(applied_at_utc) AT TIME ZONE 'UTC' FROM public._yoyo_migration"
    row = (await target.rows())[OURS[1]]
    assert row.applied_at == await target.db.fetch_value(times)
    assert row.applied_by == await target.db.fetch_value("SELECT max(username) FROM public._yoyo_log")
    assert await target.apply(ours) == OURS[2:]
    assert (first, second) == tuple(name for name in FILES if "rollback" not in name)[:2]


async def test_a_history_written_by_hand_is_imported(target: Database, tmp_path: Path) -> None:
    await target.run(TABLES)
    await applied(target, "20240101_01_aBcDe-users", "20240101_02_fGhIj-index", "20230101_01_zZzZz-python")
    ours = tmp_path / "ours"
    convert("yoyo", write(tmp_path / "theirs", FILES), ours)
    report = await target.take("yoyo", ours)
    assert report.imported == tuple(OURS[:2])
    assert report.unmatched == ("20230101_01_zZzZz-python",)
    assert report.checked == ()
    assert any("keeps no checksums" in note for note in report.notes)
    row = (await target.rows())[OURS[0]]
    assert (row.applied_at.isoformat(), row.applied_by) == ("2024-02-01T12:00:00+00:00", "ada")
    assert await target.apply(ours) == OURS[2:]


async def test_a_history_without_the_yoyo_log_is_imported(target: Database) -> None:
    await target.run(TABLES + "DROP TABLE _yoyo_log; INSERT INTO _yoyo_migration VALUES ('x', '0001-a', now())")
    assert (await target.take("yoyo", {"0001-a.sql": "SELECT 1"})).imported == ("0001-a.sql",)
    assert (await target.rows())["0001-a.sql"].applied_by is None


async def test_converted_files_build_a_new_database(target: Database, tmp_path: Path) -> None:
    ours = tmp_path / "ours"
    conversion = convert("yoyo", write(tmp_path / "theirs", FILES), ours)
    assert sorted(conversion.written) == sorted([*OURS, "20240101.01_aBcDe-users.down.sql"])
    assert (ours / OURS[1]).read_text().startswith("-- pgdbm:no-transaction\n")
    assert await target.apply(ours) == OURS


async def test_an_order_given_only_by_depends_needs_conversion(target: Database, tmp_path: Path) -> None:
    files = {
        "a-second.sql": "-- depends: b-first\nCREATE TABLE public.second ();",
        "b-first.sql": "CREATE TABLE public.first ();",
        "c-third.sql": "--depends: a-second\nCREATE TABLE public.third ();",
    }
    await target.run(TABLES)
    await applied(target, "b-first", "a-second")
    error = await target.refusal("yoyo", files)
    assert (error.reason, error.files) == ("unconverted", ("a-second.sql",))
    ours = tmp_path / "ours"
    conversion = convert("yoyo", write(tmp_path / "theirs", files), ours)
    assert conversion.written == ("0001_b-first.sql", "0002_a-second.sql", "0003_c-third.sql")
    assert (await target.take("yoyo", ours)).imported == conversion.written[:2]
    assert await target.apply(ours) == ["0003_c-third.sql"]


async def test_files_that_pgdbm_would_run_by_mistake_are_refused(target: Database) -> None:
    await target.run(TABLES)
    for name in ("a.rollback.sql", "post-apply.sql"):
        error = await target.refusal("yoyo", {"a.sql": "SELECT 1", name: "SELECT 2"})
        assert (error.reason, error.files) == ("unconverted", (name,))


def test_unsupported_directives_are_noted(tmp_path: Path) -> None:
    files = {
        "a.sql": "-- depends: b\nSELECT 1;",
        "b.sql": "-- depends: a\nSELECT 1;",
        "c.py": "steps = []",
        "post-apply.sql": "SELECT 1;",
    }
    conversion = convert("yoyo", write(tmp_path / "theirs", files), tmp_path / "ours")
    assert conversion.written == ("a.sql", "b.sql")
    assert [note.split(":")[0] for note in conversion.notes][:2] == ["c.py", "post-apply.sql"]
    assert "depend on each other" in conversion.notes[2]
