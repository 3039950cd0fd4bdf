"""What the commands of a service print with ``--json`` fits docs/reference/cli.schema.json."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import structlog

from pgdbm.cli.app import root
from pgdbm_service.commands import deploy, modules, operating, runs, tokens, wait

from ...docs.cli_schema import check_document
from .test_deploy import Pipeline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Check = Callable[..., dict[str, Any]]

TABLE = "CREATE TABLE {{tables.t}} (id integer PRIMARY KEY)"
FILES = [{"filename": "001_a.sql", "content": TABLE}]


@pytest.fixture
def check(
    service: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, direct: Any
) -> Iterator[Check]:
    """``check(command, …)`` runs it, and returns the document, which fits the schema of the command."""
    logging_of_others = structlog.get_config()
    monkeypatch.setenv("PGDBM_SERVER", service.url)
    monkeypatch.setenv("DATABASE_URL", direct.database)
    # Whether or not the entry points of this version are installed.
    for command in (deploy.deploy, wait.wait, runs.runs, tokens.token, *modules.COMMANDS, *operating.COMMANDS):
        monkeypatch.setitem(root.commands, str(command.name), command)
    pgdbm = Pipeline(tmp_path / "project", capsys, monkeypatch)

    def run(name: str, *arguments: str, code: int = 0) -> dict[str, Any]:
        done = pgdbm(*name.split(), *arguments, "--json")
        assert done.code == code, done.err
        schema = "runs_run" if name == "runs" and arguments else name.lower().replace(" ", "_")
        return check_document(f"service_{schema}", done.document)

    yield run
    structlog.configure(**logging_of_others)


def test_modules_and_their_operations(check: Check, service: Any, repo: Any) -> None:
    repo.write("m", _001_a=TABLE, _002_b="CREATE INDEX i ON {{tables.t}} (id)", _003_c="SELECT 3")
    (repo.path / "m" / "003_c.down.sql").write_text("SELECT 3")
    repo.write("n", 'depends_on = ["m"]', _001_a=TABLE)
    assert check("sync")["added"] == ["m", "n"]
    assert check("plan", "m")["pending"] != []
    assert check("rehearse", "m")["succeeded"]
    assert check("baseline", "m", "001", "--no-check")["baselined"] == ["001_a.sql"]
    assert check("mark", "m", "001_a.sql", "--not-applied")["applied"] is False
    assert len(check("runs start", "m")["applied"]) == 3
    assert check("runs start", "n", "--with-dependencies")["status"] == "success"
    assert check("runs start")["status"] == "up_to_date"
    assert [one["state"] for one in check("modules")["items"]] == ["up_to_date", "up_to_date"]
    assert len(check("status", "m")["migrations"]) == 3
    assert check("drift", "m")["clean"]
    assert check("history", "m")["items"] != []
    assert check("journal", "m")["items"] != []
    assert check("schemas")["items"] != []
    assert check("schemas", "m")["items"] != []
    assert check("wait", "m")["version"] == "003"
    assert check("revert", "m", "--yes")["reverted"] != []
    repo.write("m", _001_a=TABLE + " -- changed")
    service.sync()
    assert check("repair", "m")["items"] != []
    assert check("overview")["modules"] != []
    assert check("replicas")["items"] != []
    assert check("audit")["items"] != []


def test_runs(check: Check, service: Any, repo: Any) -> None:
    repo.write("bad", _001_a="SELECT 1 / 0")
    service.sync()
    failed = service.post("/modules/bad/migrate").json()["run_id"]
    assert check("runs")["items"][0]["id"] == failed
    assert check("runs", failed)["problem"]["sqlstate"] == "22012"
    repo.write("bad", _001_a="SELECT pg_sleep(600)")
    service.sync()
    sleeping = service.post(f"/runs/{failed}/retry", headers={"Prefer": "respond-async"}).json()["id"]
    assert check("runs cancel", sleeping)["cancel_requested_at"] is not None
    repo.write("bad", _001_a="SELECT 1")
    service.sync()
    assert check("runs retry", failed)["status"] == "success"


def test_registrations_and_tokens(check: Check, service: Any, tmp_path: Path) -> None:
    folder = tmp_path / "project" / "migrations"
    (folder / "001_a.sql").write_text(TABLE)
    assert check("deploy", "r", "--dry-run")["pending"] == ["001_a.sql"]
    assert check("deploy", "r")["applied"] != []
    assert check("deploy", "r")["status"] == "up_to_date"
    (folder / "002_b.sql").write_text("SELECT 2")
    check("deploy", "r")
    new, old = check("bundles", "r")["items"]
    (change,) = check("bundles", "r", "--compare", old["digest"], new["digest"])["changes"]
    assert (change["kind"], change["filename"]) == ("added", "002_b.sql")
    assert check("unregister", "r", "--yes")["status"] == "unregistered"
    token = check("token create", "ci", "--scope", "read")
    assert check("token list")["items"][0]["id"] == token["id"]
    assert check("token revoke", "ci")["state"] == "revoked"


def test_sessions(
    check: Check, service: Any, repo: Any, database: str, sql: Any, eventually: Callable[..., Any]
) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    service.post("/modules/m/migrate")
    repo.write("m", _002_b="ALTER TABLE {{tables.t}} ADD COLUMN n integer")
    service.sync()
    with psycopg.connect(database, application_name="billing") as holder, ThreadPoolExecutor(1) as others:
        holder.execute("LOCK TABLE m.t")
        migrating = others.submit(service.post, "/modules/m/migrate")
        eventually(lambda: check("activity")["items"])
        assert check("activity", "--long-running")["items"] == []
        pid = holder.info.backend_pid
        (row,) = sql("SELECT backend_start FROM pg_stat_activity WHERE pid = $1", pid)
        ended = check("terminate", str(pid), "--backend-start", row["backend_start"].isoformat(), "--yes")
        assert ended["application_name"] == "billing"
        assert migrating.result().status_code == 200
        with pytest.raises(psycopg.OperationalError):
            holder.execute("SELECT 1")
