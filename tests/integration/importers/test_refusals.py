"""What is not imported, and why; and what becomes of down migrations in exports."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pgdbm import MigrationFileError
from pgdbm.migrations.importers import convert

from .test_dbmate import write

if TYPE_CHECKING:
    from pgdbm.migrations.importers import ToolName

    from .conftest import Database

HISTORIES = Path(__file__).with_name("histories")
FOLDERS: dict[ToolName, str] = {
    "drizzle": "drizzle",
    "liquibase": "export",
    "prisma": "prisma/migrations",
    "sqitch": ".",
    "supabase": "supabase/migrations",
}


async def restore(target: Database, tool: ToolName, ours: Path) -> None:
    """Load the recorded database of ``tool``, and convert its files."""
    async with target.db.acquire() as connection:
        await connection.execute((HISTORIES / tool / "database.sql").read_text())
    convert(tool, HISTORIES / tool / "project" / FOLDERS[tool], ours)


@pytest.mark.parametrize(("tool", "place"), [("drizzle", "0001_orders.sql"), ("prisma", "20240101000000_users.sql")])
async def test_a_file_that_was_changed_is_refused(target: Database, tmp_path: Path, tool: ToolName, place: str) -> None:
    await restore(target, tool, tmp_path)
    with (tmp_path / place).open("a") as file:
        file.write("-- changed\n")
    error = await target.refusal(tool, tmp_path)
    assert (error.reason, error.files) == ("checksum", (place,))


@pytest.mark.parametrize("tool", ["drizzle", "prisma"])
async def test_the_ends_of_lines_do_not_matter(target: Database, tmp_path: Path, tool: ToolName) -> None:
    await restore(target, tool, tmp_path)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    report = await target.take(tool, tmp_path)
    assert len(report.checked) == len(report.imported) == 2


async def test_a_script_of_sqitch_that_was_changed_is_refused(target: Database, tmp_path: Path) -> None:
    await restore(target, "sqitch", tmp_path)
    await target.run("UPDATE sqitch.changes SET script_hash = 'other' WHERE change = 'index'")
    error = await target.refusal("sqitch", tmp_path)
    assert (error.reason, error.files) == ("checksum", ("002_index.sql",))


async def test_supabase_with_other_statements_is_noted(target: Database, tmp_path: Path) -> None:
    await restore(target, "supabase", tmp_path)
    await target.run("UPDATE supabase_migrations.schema_migrations SET statements = NULL WHERE name = 'index'")
    report = await target.take("supabase", tmp_path)
    assert report.checked == ("20240101000000_users.sql",)
    assert report.notes == (
        "Supabase recorded statements that differ from the files, or none: 20240102000000_index.sql.",
    )


async def test_a_failed_migration_of_prisma_is_refused(target: Database, tmp_path: Path) -> None:
    await restore(target, "prisma", tmp_path)
    await target.run("UPDATE _prisma_migrations SET finished_at = NULL WHERE id = 'c'")
    error = await target.refusal("prisma", tmp_path)
    assert (error.reason, error.files) == ("failed", ("20240102000000_index",))
    await target.run("UPDATE _prisma_migrations SET rolled_back_at = now() WHERE id = 'c'")
    report = await target.take("prisma", tmp_path)
    assert (report.failed, report.imported) == (("20240102000000_index",), ("20240101000000_users.sql",))
    assert report.pending == ("20240102000000_index.sql", "20240103000000_orders.sql")


@pytest.mark.parametrize("tool", ["liquibase", "sqitch"])
async def test_files_that_cannot_be_found_in_the_history_are_refused(
    target: Database, tmp_path: Path, tool: ToolName
) -> None:
    await restore(target, tool, tmp_path)
    error = await target.refusal(tool, {"001_users.sql": "CREATE TABLE users ();"})
    assert (error.reason, error.files) == ("unconverted", ("001_users.sql",))


async def test_what_liquibase_has_not_executed_stays_pending(target: Database, tmp_path: Path) -> None:
    await restore(target, "liquibase", tmp_path)
    await target.run(
        "UPDATE databasechangelog SET exectype = CASE id WHEN 'view' THEN 'SKIPPED' ELSE 'MARK_RAN' END;"
        "INSERT INTO databasechangelog VALUES ('9', 'ann', 'old.xml', now(), 9, 'EXECUTED')"
    )
    report = await target.take("liquibase", tmp_path)
    assert report.imported == ("001_1.sql", "002_add-index.sql")
    assert (report.failed, report.unmatched) == (("more.sql::view::bob",), ("old.xml::9::ann",))
    assert report.pending == ("003_view.sql", "004_orders.sql")


async def test_sqitch_s_other_projects_are_ignored(target: Database, tmp_path: Path) -> None:
    await restore(target, "sqitch", tmp_path)
    await target.run(
        "INSERT INTO sqitch.projects VALUES ('other', NULL, now(), 'A', 'a@example.com');"
        "INSERT INTO sqitch.changes (change_id, change, project, note, committer_name, committer_email, planned_at,"
        " planner_name, planner_email) VALUES ('x', 'users', 'other', '', 'A', 'a', now(), 'A', 'a')"
    )
    report = await target.take("sqitch", tmp_path)
    assert (report.unmatched, len(report.imported)) == ((), 3)
    assert (await target.rows())["002_index.sql"].applied_by == "Ann B"


class TestDownMigrations:
    def test_node_pg_migrate_dry_run_history_is_refused(self, tmp_path: Path) -> None:
        export = {
            "upgrade.sql": (
                "dry run\n### MIGRATION 1_a (UP) ###\nCREATE TABLE a ();\n"
                'INSERT INTO "public"."pgmigrations" (name, run_on) VALUES (\'1_a\', NOW());\n\n\n'
                "### MIGRATION 2_nothing (UP) ###\n"
                'INSERT INTO "public"."pgmigrations" (name, run_on) VALUES (\'2_nothing\', NOW());\n\n\n'
                "Migrations complete!\n"
            ),
            "downgrade.sql": (
                "### MIGRATION 1_a (DOWN) ###\nCOMMIT;\nDROP TABLE a;\n"
                'DELETE FROM "public"."pgmigrations" WHERE name=\'1_a\';\nBEGIN;\n\n\nMigrations complete!\n'
            ),
        }
        assert self.converted("node-pg-migrate", export, tmp_path) == {
            "1_a.sql": "CREATE TABLE a ();\n",
            "1_a.down.sql": "-- pgdbm:no-transaction\nDROP TABLE a;\n",
            "2_nothing.sql": "-- Nothing to do.\n",
        }

    def test_of_liquibase(self, tmp_path: Path) -> None:
        export = {
            "upgrade.sql": (
                "-- Lock Database\nUPDATE databasechangeloglock SET LOCKED = TRUE;\n\n"
                "-- Changeset c.xml::a/b c::ann\nCREATE TABLE a ();\n\n"
                "INSERT INTO databasechangelog (ID) VALUES ('a');\n\n-- Release Database Lock\n"
                "UPDATE databasechangeloglock SET LOCKED = FALSE;\n"
            ),
            "downgrade.sql": "-- Rolling Back ChangeSet: c.xml::a/b c::ann\nDROP TABLE a;\n",
        }
        assert self.converted("liquibase", export, tmp_path) == {
            "001_a_b_c.sql": "-- Changeset c.xml::a/b c::ann\nCREATE TABLE a ();\n",
            "001_a_b_c.down.sql": "DROP TABLE a;\n",
        }

    def test_of_django(self, tmp_path: Path) -> None:
        export = {
            "upgrade.sql": (
                "-- Migration shop.0001_initial\nBEGIN;\n--\n-- Create\n--\nCREATE TABLE a ();\nCOMMIT;\n"
                "-- Migration shop.0002_no_sql\n"
            ),
            "downgrade.sql": "-- Migration shop.0001_initial\nBEGIN;\nDROP TABLE a;\nCOMMIT;\n",
        }
        assert self.converted("django", export, tmp_path) == {
            "001_shop_0001_initial.sql": "--\n-- Create\n--\nCREATE TABLE a ();\n",
            "001_shop_0001_initial.down.sql": "DROP TABLE a;\n",
            "002_shop_0002_no_sql.sql": "-- Nothing to do.\n",
        }

    @staticmethod
    def converted(tool: ToolName, export: dict[str, str], folder: Path) -> dict[str, str]:
        convert(tool, write(folder / "export", export), folder / "ours")
        return {path.name: path.read_text() for path in (folder / "ours").iterdir()}


def test_a_name_with_a_slash_is_not_written_elsewhere(tmp_path: Path) -> None:
    """The names of some tools come from the text of an export."""
    (tmp_path / "theirs").mkdir()
    export = "### MIGRATION ../outside (UP) ###\nCREATE TABLE a ();\n"
    (tmp_path / "theirs" / "upgrade.sql").write_text(export)
    with pytest.raises(MigrationFileError, match=r"\.\./outside\.sql.*cannot have a slash"):
        convert("node-pg-migrate", tmp_path / "theirs", tmp_path / "ours")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["theirs"]
