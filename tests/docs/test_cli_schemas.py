"""``docs/reference/cli.schema.json`` describes what commands print with ``--json``, without a field missing."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator

from pgdbm.cli import app

from ..conftest import ROOT
from ..support.commands import own_commands
from .cli_schema import SCHEMA, check_document

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import click
    import pytest


def check(name: str, *arguments: str, exit_code: int = 0) -> dict[str, Any]:
    """The document of a command, which fits the schema ``name``."""
    with redirect_stdout(StringIO()) as printed:
        assert app.run([*arguments, "--json"]) == exit_code, printed.getvalue()
    return check_document(name, json.loads(printed.getvalue()))


def commands(group: click.Group, prefix: str = "pgdbm") -> Iterator[str]:
    """The names of all commands in ``group``."""
    for name, command in own_commands(group).items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}"


def test_every_command_has_a_schema() -> None:
    from pgdbm_service.commands import approvals, deploy, freezes, modules, operating, runs, tokens, wait

    names = set(commands(app.root))
    for one in (deploy.deploy, wait.wait, *modules.COMMANDS, *operating.COMMANDS, *approvals.COMMANDS):
        names.add(f"pgdbm {one.name}")
    for group in (freezes.freeze, runs.runs, tokens.token):
        names |= set(commands(group, f"pgdbm {group.name}"))
    described = {one.get("description", "").partition(",")[0] for one in SCHEMA["$defs"].values()}
    short = {"pgdbm runs list": "pgdbm runs", "pgdbm runs show": "pgdbm runs RUN"}
    assert {short.get(name, name) for name in names} - described == set()


def test_the_schemas_of_services_are_those_of_the_types() -> None:
    """``python .ci/cli_schemas.py`` writes them."""
    file = ROOT / "docs" / "reference" / "cli.schema.json"
    made = subprocess.run(
        [sys.executable, "-c", "import cli_schemas; print(cli_schemas.document(), end='')"],
        cwd=ROOT / ".ci",
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    assert made.stdout == file.read_text(), "run: python .ci/cli_schemas.py"


def test_the_documents_of_commands(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Draft202012Validator.check_schema(SCHEMA)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", database)
    (tmp_path / "pgdbm.toml").write_text('[modules.app]\npath = "ours"\nschema = "app"\n')
    (tmp_path / "theirs").mkdir()
    for version, sql in (
        ("001", "CREATE TABLE {{tables.a}} (id int);"),
        ("002", "CREATE INDEX i ON {{tables.a}} (id);"),
    ):
        (tmp_path / "theirs" / f"{version}_x.sql").write_text(f"-- migrate:up\n{sql}\n-- migrate:down\n")
    assert len(check("convert", "migrate", "convert", "--from", "dbmate", "theirs", "ours")["written"]) == 2
    check("detect", "migrate", "import", "--detect")
    check("status", "migrate", "status")
    check("history", "migrate", "history")
    assert check("apply", "migrate", "apply", "--dry-run")["status"] == "dry_run"
    (planned,) = check("plan", "migrate", "plan")["modules"]
    assert [len(one["statements"]) for one in planned["pending"]] == [1, 1]
    assert planned["pending"][1]["findings"] != []
    assert check("apply", "migrate", "apply")["status"] == "success"
    assert check("apply", "migrate", "apply")["status"] == "up_to_date"
    assert len(check("history", "migrate", "history")["items"]) == 2
    check("status", "migrate", "status", "--all")
    assert check("verify", "migrate", "verify")["status"] == "ok"

    check("error", "migrate", "import", "--from", "flyway", exit_code=1)
    (tmp_path / "ours" / "003_y.sql").write_text("SELEC")
    assert check("error", "migrate", "apply", exit_code=1)["error"]["line"] == 1
    (tmp_path / "ours" / "003_y.sql").unlink()
    (tmp_path / "ours" / "001_x.sql").unlink()
    with (tmp_path / "ours" / "002_x.sql").open("a") as file:
        file.write("-- changed\n")
    problems = check("verify", "migrate", "verify", exit_code=1)["problems"]
    assert {one["state"] for one in problems} == {"changed", "missing"}
    check("status", "migrate", "status")
    check("error", "migrate", "apply", exit_code=1)


def test_the_document_of_an_import(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", database)
    (tmp_path / "pgdbm.toml").write_text('[modules.app]\npath = "ours"\nschema = "app"\n')
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "001_x.sql").write_text(
        "CREATE TABLE app.flyway_schema_history (\n"
        "installed_rank int, version text, description text, type text, script text, checksum int,\n"
        "installed_by text, success boolean, execution_time int, installed_on timestamp);"
    )
    check("apply", "migrate", "apply")
    (found,) = check("detect", "migrate", "import", "--detect")["tools"]
    assert (found["tool"], found["schema"]) == ("flyway", "app")
    check("import", "migrate", "import", "--from", "flyway", "--dry-run")


def test_the_documents_of_operations(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", database)
    assert check("init", "init")["path"].endswith("pgdbm.toml")
    (tmp_path / "pgdbm.toml").write_text('[modules.app]\npath = "ours"\nschema = "app"\n')
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "001_x.sql").write_text("CREATE TABLE {{tables.a}} (id int);")
    (tmp_path / "ours" / "002_y.sql").write_text("CREATE INDEX i ON {{tables.a}} (id);")
    (tmp_path / "ours" / "002_y.down.sql").write_text("DROP INDEX {{schema}}.i;")
    (rehearsed, _) = check("rehearse", "migrate", "rehearse")["migrations"]
    assert rehearsed["statements"][0]["locks"] != []
    assert check("baseline", "migrate", "baseline", "001", "--no-check")["baselined"] == ["001_x.sql"]
    assert check("mark", "migrate", "mark", "001_x.sql", "--not-applied")["applied"] is False
    check("apply", "migrate", "apply")
    assert check("drift", "migrate", "drift")["clean"]
    (reverted,) = check("revert", "migrate", "revert", "--yes")["reverted"]
    assert reverted["filename"] == "002_y.sql"
    assert len(check("journal", "migrate", "journal")["items"]) >= 3
    (tmp_path / "ours" / "001_x.sql").write_text("CREATE TABLE {{tables.a}} (id int);\n-- changed\n")
    assert check("repair", "migrate", "repair", "--accept")["modules"][0]["changed"] != []
    (tmp_path / "ours" / "003_z.sql").write_text("SELECT 1 / 0;")
    assert check("rehearse", "migrate", "rehearse", exit_code=1)["failure"]["sqlstate"] == "22012"
    check("error", "migrate", "resolve", "001_x.sql", "1", "--done", exit_code=1)
    (tmp_path / "ours" / "003_z.sql").write_text(
        "-- pgdbm:backfill table={{tables.a}} key=id\nUPDATE {{tables.a}} SET id = id WHERE {{batch}};"
    )
    assert check("backfill", "migrate", "backfill", "003_z.sql", "--pause")["items"][0]["paused"]
    check("create", "migrate", "create", "more")
    assert "app" in {one["name"] for one in check("schema_list", "schema", "list")["items"]}
    assert check("schema_show", "schema", "show", "app")["relations"] != []
    check("db_info", "db", "info")
    assert check("db_check", "db", "check", exit_code=1)["status"] == "fail"
    other = database.rpartition("/")[0] + "/of_the_command"
    assert check("db_create", "db", "create", "--database-url", other)["status"] == "created"
    assert check("db_drop", "db", "drop", "--yes", "--database-url", other)["status"] == "dropped"
