"""The importers from the command line."""

from __future__ import annotations

import asyncio
import json
from contextlib import redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest

from pgdbm.cli import app
from pgdbm.cli.importing import TOOL_NAMES
from pgdbm.migrations.importers import TOOLS

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path


def run(*arguments: str, exit_code: int = 0) -> str:
    with redirect_stdout(StringIO()) as printed:
        assert app.run([*arguments]) == exit_code, printed.getvalue()
    return printed.getvalue()


@pytest.fixture
def project(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with dbmate's files in ``theirs``, and a configuration of pgdbm."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", database)
    (tmp_path / "pgdbm.toml").write_text(
        '[project]\nmigrations_table = "pgdbm_migrations"\n[modules.app]\npath = "ours"\nschema = "public"\n'
    )
    (tmp_path / "theirs").mkdir()
    for number, name in enumerate(("users", "orders", "later"), 1):
        text = f"-- migrate:up\nCREATE TABLE {name} ();\n-- migrate:down\nDROP TABLE {name};\n"
        (tmp_path / "theirs" / f"00{number}_{name}.sql").write_text(text)
    return tmp_path


def test_the_tools_are_those_of_the_library() -> None:
    assert tuple(TOOLS) == TOOL_NAMES


def test_files_are_converted_imported_and_applied(
    project: Path, connect: Callable[[], AbstractAsyncContextManager[Any]]
) -> None:
    async def migrate_with_dbmate() -> None:
        async with connect() as connection:
            await connection.execute(
                "CREATE TABLE schema_migrations (version varchar(128) PRIMARY KEY);"
                "INSERT INTO schema_migrations VALUES ('001'), ('002'); CREATE TABLE users (); CREATE TABLE orders ()"
            )

    asyncio.run(migrate_with_dbmate())
    written = json.loads(run("migrate", "convert", "--from", "dbmate", "theirs", "ours", "--json"))
    assert (written["tool"], len(written["written"]), written["notes"]) == ("dbmate", 6, [])
    dry = json.loads(run("migrate", "import", "--from", "dbmate", "--dry-run", "--json"))
    assert (dry["dry_run"], dry["module"], dry["schema"]) == (True, "app", "public")
    assert (dry["imported"], dry["pending"]) == (["001_users.sql", "002_orders.sql"], ["003_later.sql"])
    text = run("migrate", "import", "--from", "dbmate")
    assert text.startswith("app (schema public): 2 imported, 0 already recorded, 0 checksums verified\n")
    assert "Pending:\n  003_later.sql\n" in text
    applied = json.loads(run("migrate", "apply", "--json"))
    assert [one["filename"] for one in applied["modules"][0]["applied"]] == ["003_later.sql"]


def test_a_refusal_is_an_error_with_its_code(project: Path) -> None:
    (project / "ours").mkdir()
    answer = json.loads(run("migrate", "import", "--from", "flyway", "--json", exit_code=1))
    assert answer["error"]["code"] == "import_refused"
    assert run("migrate", "import", "--from", "rails", exit_code=2) == ""
