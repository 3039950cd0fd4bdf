"""golang-migrate's history, as its table is documented."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pgdbm.migrations.importers import convert

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Database

TABLE = "CREATE TABLE schema_migrations (version bigint NOT NULL PRIMARY KEY, dirty boolean NOT NULL)"
FILES = {
    "000001_users.up.sql": "CREATE TABLE public.users ();",
    "000001_users.down.sql": "DROP TABLE public.users;",
    "000002_orders.up.sql": "BEGIN;\n\nCREATE TABLE public.orders (id int);\n\nCOMMIT;\n",
    "000002_orders.down.sql": "BEGIN;\nDROP TABLE public.orders;\nCOMMIT;\n",
    "000010_index.up.sql": "-- by id\nCREATE INDEX CONCURRENTLY i ON public.orders (id);",
}


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    folder = tmp_path / "theirs"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return folder


async def at(target: Database, version: int, *, dirty: bool = False) -> None:
    await target.run(f"{TABLE}; INSERT INTO schema_migrations VALUES ({version}, {dirty})")


@pytest.mark.parametrize("converted", [False, True])
async def test_every_file_up_to_the_version_is_imported(
    target: Database, theirs: Path, tmp_path: Path, converted: bool
) -> None:
    files = theirs
    if converted:
        files = tmp_path / "ours"
        convert("golang-migrate", theirs, files)
    await at(target, 2)
    await target.run("CREATE TABLE orders (id int)")
    report = await target.take("golang-migrate", files)
    ending = ".sql" if converted else ".up.sql"
    assert report.imported == (f"000001_users{ending}", f"000002_orders{ending}")
    assert (report.unmatched, report.checked) == ((), ())
    assert any("keeps only its version (2)" in note for note in report.notes)
    assert await target.pending(files) == [f"000010_index{ending}"]
    if converted:
        assert await target.apply(files) == ["000010_index.sql"]
        assert (await target.take("golang-migrate", files)).already_applied == report.imported


async def test_a_new_database_can_be_built_from_converted_files(target: Database, theirs: Path, tmp_path: Path) -> None:
    ours = tmp_path / "ours"
    conversion = convert("golang-migrate", theirs, ours)
    assert (ours / "000002_orders.sql").read_text() == "CREATE TABLE public.orders (id int);\n"
    assert (ours / "000002_orders.down.sql").read_text() == "DROP TABLE public.orders;\n"
    assert (ours / "000010_index.sql").read_text().startswith("-- pgdbm:no-transaction\n-- by id\n")
    assert conversion.notes == ()
    assert await target.apply(ours) == ["000001_users.sql", "000002_orders.sql", "000010_index.sql"]


async def test_a_dirty_version_is_refused(target: Database) -> None:
    await at(target, 2, dirty=True)
    for version in (2, -1):
        await target.run(f"UPDATE schema_migrations SET version = {version}")
        error = await target.refusal("golang-migrate", {"000001_users.up.sql": "SELECT 1"})
        assert (error.reason, error.files) == ("failed", (str(version),))
        assert "migrate force" in str(error)


async def test_a_version_without_a_file_is_reported_as_unmatched(target: Database, theirs: Path) -> None:
    await at(target, 7)
    report = await target.take("golang-migrate", theirs)
    assert report.imported == ("000001_users.up.sql", "000002_orders.up.sql")
    assert report.unmatched == ("7",)


async def test_an_empty_history_imports_nothing(target: Database, theirs: Path) -> None:
    await target.run(TABLE)
    report = await target.take("golang-migrate", theirs)
    assert (report.imported, len(report.pending)) == ((), 3)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("begin;\nselect 1;\nend", "select 1;\n"),
        ("-- why\nBEGIN ;\nSELECT 'BEGIN;';\nCOMMIT;\n-- done\n", "-- why\nSELECT 'BEGIN;';\n-- done\n"),
        (
            "START TRANSACTION;\nSELECT '{{tables.a}}', '{{tables.b}}';\nCOMMIT;",
            "SELECT '{{tables.a}}', '{{tables.b}}';\n",
        ),
        ("/* ü */ BEGIN; SELECT 'ü'; COMMIT;", "/* ü */  SELECT 'ü';\n"),
    ],
)
def test_begin_and_commit_are_removed(tmp_path: Path, sql: str, expected: str) -> None:
    (tmp_path / "1_a.up.sql").write_text(sql)
    assert convert("golang-migrate", tmp_path, tmp_path / "ours").notes == ()
    assert (tmp_path / "ours" / "1_a.sql").read_text() == expected


@pytest.mark.parametrize(
    "sql",
    [
        "BEGIN; SELECT 1; ROLLBACK;",
        "COMMIT;",
        "BEGIN; SELECT 1; COMMIT; BEGIN; SELECT 1; ROLLBACK;",
        "selec 1",
    ],
)
def test_ambiguous_transaction_control_is_kept_and_noted(tmp_path: Path, sql: str) -> None:
    (tmp_path / "1_a.up.sql").write_text(sql)
    (note,) = convert("golang-migrate", tmp_path, tmp_path / "ours").notes
    assert note.startswith("1_a.sql:")
    assert (tmp_path / "ours" / "1_a.sql").read_text() == sql


@pytest.mark.parametrize(
    "sql", ["BEGIN; SELECT 1; COMMIT; BEGIN; SELECT 1; COMMIT;", "BEGIN; SELECT 1; COMMIT; SELECT 2;"]
)
def test_transactions_among_other_statements_are_kept_since_each_is_applied_as_one(tmp_path: Path, sql: str) -> None:
    (tmp_path / "1_a.up.sql").write_text(sql)
    assert convert("golang-migrate", tmp_path, tmp_path / "ours").notes == ()
    assert (tmp_path / "ours" / "1_a.sql").read_text() == sql
