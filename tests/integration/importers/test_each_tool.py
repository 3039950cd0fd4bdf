"""Each tool's history is imported with the documentation's commands: recorded histories, and new ones of the real
tools."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
from contextlib import redirect_stdout
from datetime import datetime
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import asyncpg
import pytest

from pgdbm.cli import app
from pgdbm.migrations.importers import TOOLS

from . import record
from .page import commands_of, configuration
from .real_tools import PROJECTS, ToolMissingError, ToolProject, programs_of

if TYPE_CHECKING:
    from tests.conftest import Databases

HISTORIES = Path(__file__).with_name("histories")
# Set by `make importers-test`: to install and run the real tools takes minutes.
WITH_REAL_TOOLS = "PGDBM_MIGRATION_TOOLS"

# Tools whose table has checksums of the files.
VERIFYING = ("drizzle", "flyway", "prisma", "sqitch", "supabase")


def pgdbm(*arguments: str) -> dict[str, Any]:
    """The document that a command prints."""
    with redirect_stdout(StringIO()) as printed:
        assert app.run([*arguments, "--json"]) == 0, printed.getvalue()
    document: dict[str, Any] = json.loads(printed.getvalue())
    return document


def fetch(dsn: str, sql: str) -> list[Any]:
    async def fetched() -> list[Any]:
        connection = await asyncpg.connect(dsn)
        try:
            return list(await connection.fetch(sql))
        finally:
            await connection.close()

    return asyncio.run(fetched())


def execute(dsn: str, sql: str) -> None:
    async def executed() -> None:
        connection = await asyncpg.connect(dsn)
        await connection.execute(sql)
        await connection.close()

    asyncio.run(executed())


def check_the_move(tool: str, dsn: str, recorded: list[list[str | None]]) -> None:
    """Run the commands of the page in the working directory, which has the project and the tool's exports."""
    assert tool in [one["tool"] for one in pgdbm("migrate", "import", "--detect")["tools"]]
    report: dict[str, Any] = {}
    for command in commands_of(tool):
        if command.startswith("pgdbm "):
            answer = pgdbm(*shlex.split(command)[1:])
            report = answer if "imported" in answer else report
    assert (report["unmatched"], len(report["imported"]), len(report["pending"])) == ([], len(recorded), 1)
    assert report["checked"] == (report["imported"] if tool in VERIFYING else [])
    rows = fetch(dsn, "SELECT filename, applied_at AT TIME ZONE 'UTC' AS at FROM pgdbm_migrations ORDER BY id")
    assert len(rows) == len(recorded)
    for row, (name, time) in zip(rows, recorded, strict=True):
        assert name is not None
        assert name in row["filename"]
        if time is not None:
            assert row["at"] == datetime.fromisoformat(time)
    applied = pgdbm("migrate", "apply")["modules"][0]
    assert [one["filename"] for one in applied["applied"]] == report["pending"]
    assert pgdbm("migrate", "apply")["modules"][0]["status"] == "up_to_date"
    assert pgdbm("migrate", "import", "--from", tool)["imported"] == []


@pytest.fixture
def project(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", database)
    (tmp_path / "pgdbm.toml").write_text(configuration())
    return tmp_path


@pytest.mark.parametrize("tool", TOOLS)
def test_a_recorded_history_is_taken_over(tool: str, database: str, project: Path) -> None:
    for path in (HISTORIES / tool / "project").rglob("*"):
        if path.is_file():
            copy = project / path.relative_to(HISTORIES / tool / "project")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    execute(database, (HISTORIES / tool / "database.sql").read_text())
    check_the_move(tool, database, json.loads((HISTORIES / tool / "history.json").read_text()))


@pytest.mark.slow
@pytest.mark.skipif(WITH_REAL_TOOLS not in os.environ, reason="make importers-test installs and runs the real tools")
@pytest.mark.parametrize("tool", PROJECTS)
def test_a_history_of_the_real_tool_is_taken_over(
    tool: str, database: str, databases: Databases, project: Path
) -> None:
    try:
        programs = programs_of(tool)
    except ToolMissingError as reason:
        pytest.skip(str(reason))
    # Java's driver refuses a password that was hashed with fewer iterations than usual.
    hash_again = "SET scram_iterations = {}; ALTER ROLE postgres PASSWORD '{}'"
    password = unquote(urlsplit(database).password or "")
    with databases.fresh() as scratch:
        execute(database, hash_again.format(4096, password))
        record.make(tool, ToolProject(project, database, scratch, programs))
        execute(database, hash_again.format(1, password))
        check_the_move(tool, database, asyncio.run(record.history(database, tool)))


def test_nothing_is_detected_in_an_empty_database(project: Path) -> None:
    assert pgdbm("migrate", "import", "--detect") == {"tools": []}


def test_tables_of_one_name_are_distinguished(database: str, project: Path) -> None:
    execute(
        database,
        "CREATE SCHEMA a; CREATE TABLE a.schema_migrations (version varchar(128));"
        "CREATE SCHEMA b; CREATE TABLE b.schema_migrations (version bigint, dirty boolean);"
        "CREATE SCHEMA c; CREATE TABLE c.schema_migrations (version text, statements text[], name text);"
        "CREATE SCHEMA d; CREATE TABLE d.schema_migrations (filename text, checksum text, module_name text,"
        " applied_at timestamp, version text);"
        "CREATE TABLE changes (id int); CREATE TABLE goose_db_version ()",
    )
    found = pgdbm("migrate", "import", "--detect")["tools"]
    assert [(one["tool"], one["schema"], one["table"]) for one in found] == [
        ("dbmate", "a", "schema_migrations"),
        ("golang-migrate", "b", "schema_migrations"),
        ("supabase", "c", "schema_migrations"),
    ]


def test_an_import_names_its_tool(project: Path) -> None:
    with redirect_stdout(StringIO()) as printed:
        assert app.run(["migrate", "import", "--json"]) == 2
    assert "--detect" in json.loads(printed.getvalue())["error"]["hint"]
