"""Every call about a module as a command: ``pgdbm status MODULE --server …`` and the others."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING, Any

import pytest

from pgdbm.cli.app import root
from pgdbm_service.commands import approvals, freezes, modules, operating

from ...conftest import ROOT
from .test_deploy import Pipeline

if TYPE_CHECKING:
    from pathlib import Path

TABLE = "CREATE TABLE {{tables.t}} (id integer PRIMARY KEY)"


@pytest.fixture
def pgdbm(
    service: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Pipeline:
    monkeypatch.setenv("PGDBM_SERVER", service.url)
    return Pipeline(tmp_path / "project", capsys, monkeypatch)


def test_the_commands_are_installed() -> None:
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pgdbm.commands"]
    commands = (*modules.COMMANDS, *operating.COMMANDS, *approvals.COMMANDS, freezes.freeze)
    assert {command.name for command in commands} <= set(points)


def test_the_image_has_every_command() -> None:
    """Without an installed distribution, so without its entry points."""
    probe = (
        "from pgdbm.cli.app import root\n"
        "from pgdbm_service.__main__ import _command\n"
        "_command(['--version'])\n"
        "print(*root.commands)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pgdbm.commands"]
    assert set(points) - set(done.stdout.split()) == set()


def test_a_module_is_read(pgdbm: Pipeline, service: Any, repo: Any) -> None:
    repo.write("m", _001_a=TABLE, _002_b="CREATE INDEX i ON {{tables.t}} (id)")
    repo.write("other", _001_a=TABLE)
    service.sync()
    service.post("/modules/m/migrate", json={"target": "001"})
    assert "m       pending" in pgdbm("modules").out
    listed = pgdbm("modules", "--state", "pending", "--json").document["items"]
    assert [(one["name"], one["pending"]) for one in listed] == [("m", 1), ("other", 1)]
    status = pgdbm("status", "m")
    assert "m: pending, 1 applied, 1 pending" in status.out
    assert "applied       001_a.sql" in status.out
    plan = pgdbm("plan", "m")
    assert "002_b.sql" in plan.out
    assert "SHARE on m.t" in plan.out
    assert "    Locks m.t (no rows) while writes wait.\n    m.t: " in plan.out
    assert " since 2" in plan.out
    assert pgdbm("plan", "m", "--json").document["digest"].startswith("sha256:")
    assert "001_a.sql" in pgdbm("history", "m").out
    assert [one["filename"] for one in pgdbm("history", "m", "--json").document["items"]] == ["001_a.sql"]
    assert pgdbm("schemas", "m", "--json").document["items"][0]["state"] == "pending"
    assert "m" in [one["name"] for one in pgdbm("schemas", "--json").document["items"]]
    assert pgdbm("drift", "m").out == "m: no drift\n"
    missing = pgdbm("status", "mm")
    assert (missing.code, "Did you mean m?" in missing.err) == (2, True)


def test_drift_is_a_failure(pgdbm: Pipeline, service: Any, repo: Any, sql: Any) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    service.post("/modules/m/migrate")
    sql("ALTER TABLE m.t ADD COLUMN n integer")
    done = pgdbm("drift", "m")
    assert (done.code, "changed" in done.out or "added" in done.out) == (1, True)


def test_decisions(pgdbm: Pipeline, service: Any, repo: Any) -> None:
    repo.write("m", _001_a=TABLE, _002_b="SELECT 2")
    (repo.path / "m" / "002_b.down.sql").write_text("SELECT 3")
    service.sync()
    assert pgdbm("rehearse", "m").out.startswith("m: the rehearsal succeeded")
    assert pgdbm("baseline", "m", "001", "--no-check", "--json").document["baselined"] == ["001_a.sql"]
    assert pgdbm("mark", "m", "002_b.sql").code == 0
    assert service.get("/modules/m").json()["state"] == "up_to_date"
    assert "marked" in pgdbm("journal", "m").out
    assert pgdbm("revert", "m", "--yes", "--json").document["reverted"][0]["filename"] == "002_b.sql"
    assert pgdbm("mark", "m", "001_a.sql", "--not-applied").code == 0
    assert service.get("/modules/m").json()["applied"] == 0
    unknown = pgdbm("resolve", "m", "002_b.sql", "1", "--done")
    assert unknown.code != 0
    assert "002_b.sql" in unknown.err


def test_changed_files_are_shown_and_accepted(pgdbm: Pipeline, service: Any, repo: Any) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    service.post("/modules/m/migrate")
    repo.write("m", _001_a=TABLE + " -- changed")
    service.sync()
    shown = pgdbm("repair", "m")
    assert "m: 1 modified\n" in shown.out
    assert "-- changed" in shown.out
    assert service.get("/modules/m").json()["state"] == "changed"
    assert pgdbm("repair", "m", "--accept", "--json").document["accepted"] is True
    assert service.get("/modules/m").json()["state"] == "up_to_date"


def test_a_service_is_operated(pgdbm: Pipeline, service: Any, repo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Whether or not the entry points of this version are installed.
    for command in operating.COMMANDS:
        monkeypatch.setitem(root.commands, str(command.name), command)
    repo.write("m", _001_a=TABLE)
    assert pgdbm("sync", "--json").document["added"] == ["m"]
    assert pgdbm("overview", "--json").document["modules"][0]["name"] == "m"
    assert len(pgdbm("replicas", "--json").document["items"]) == 1
    assert pgdbm("activity", "--json").document["items"] == []
    service.client.put("/modules/r", json={"migrations": [{"filename": "001_a.sql", "content": TABLE}]})
    assert pgdbm("unregister", "r", "--yes", "--json").document["status"] == "unregistered"
    assert service.get("/modules/r").status_code == 404
    assert pgdbm("audit", "--module", "r").code == 0


def test_a_frozen_module_is_reverted_in_an_emergency(pgdbm: Pipeline, service: Any, repo: Any) -> None:
    repo.write("m", _001_a=TABLE)
    (repo.path / "m" / "001_a.down.sql").write_text("DROP TABLE {{tables.t}}")
    service.sync()
    service.post("/modules/m/migrate")
    assert service.client.put("/freeze", json={"reason": "end of the quarter"}).status_code == 200
    refused = pgdbm("revert", "m", "--yes")
    assert (refused.code, "frozen" in refused.err) == (4, True), refused
    assert pgdbm("revert", "m", "--yes", "--break-glass").code == 2
    assert pgdbm("revert", "m", "--yes", "--reason", "production is down").code == 2
    assert "001_a.sql" in pgdbm("revert", "m", "--yes", "--break-glass", "--reason", "production is down").out
    assert "production is down" in [one.get("reason") for one in service.get("/audit").json()["items"]]
