"""``pgdbm approve``, ``pgdbm reject`` and ``pgdbm freeze`` with a service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ..running_service import bearer, eventually
from .test_deploy import Pipeline

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TABLE = "CREATE TABLE {{tables.t}} (id integer PRIMARY KEY)"


@pytest.fixture
def pgdbm(
    start: Callable[..., Any],
    repo: Any,
    make_token: Callable[..., str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Pipeline:
    """Called by an approver; ``ask()`` has another principal ask for a run of orders."""
    repo.write("orders", "approvals = {require_reason = true}", _001_a=TABLE)
    service = start(auth="tokens")
    monkeypatch.setenv("PGDBM_SERVER", service.url)
    monkeypatch.setenv("PGDBM_TOKEN", make_token("admin", name="lead"))
    dev = bearer(make_token("read", "migrate:*"))

    def ask() -> str:
        headers = dev | {"Prefer": "respond-async"}
        run: str = service.client.post("/modules/orders/migrate", headers=headers).json()["id"]
        return run

    pipeline = Pipeline(tmp_path / "project", capsys, monkeypatch)
    pipeline.ask = ask  # type: ignore[attr-defined]
    return pipeline


def test_a_run_is_approved(pgdbm: Any) -> None:
    run = pgdbm.ask()
    shown = pgdbm("runs", run)
    assert "waiting_for_approval" in shown.out
    assert "0 of 1 approvals of the plan sha256:" in shown.out
    without = pgdbm("approve", run, "--yes")
    assert (without.code, "001_a.sql" in without.out, "requires one" in without.err) == (2, True, True)
    # It reads no answer from a pipe.
    assert pgdbm("approve", run, "--reason", "read it").code != 0
    approved = pgdbm("approve", run, "--reason", "read it", "--yes", "--json")
    assert approved.code == 0, approved.err
    assert approved.document["approval"]["approved_by"][0]["reason"] == "read it"
    ended = eventually(lambda: (now := pgdbm("runs", run)).out.find("succeeded") > 0 and now)
    assert "approved by token:lead: read it" in ended.out
    again = pgdbm("approve", run, "--reason", "read it", "--yes")
    assert (again.code, "does not wait" in again.err) == (4, True)


def test_a_run_is_rejected(pgdbm: Any) -> None:
    run = pgdbm.ask()
    assert pgdbm("reject", run, "--reason", "not now").code == 0
    assert "token:lead rejected the run: not now" in pgdbm("runs", run).out
    assert pgdbm("runs", run, "--follow").code == 4


def test_an_emergency(pgdbm: Any) -> None:
    run = pgdbm.ask()
    assert pgdbm("approve", run, "--break-glass", "--yes").code == 2
    assert pgdbm("approve", run, "--break-glass", "--reason", "outage", "--yes").code == 0
    followed = pgdbm("runs", run, "--follow")
    assert (followed.code, "started without approvals by token:lead: outage" in followed.out) == (0, True)


def test_freezes(pgdbm: Any) -> None:
    made = pgdbm("freeze", "set", "or*", "--reason", "the sale", "--until", "2099-12-01T06:00+01:00")
    assert (made.code, "or*: frozen until 2099-12-01T05:00" in made.out) == (0, True), made
    assert "the sale" in pgdbm("freeze").out
    assert pgdbm("freeze", "list", "--json").document["items"][0]["modules"] == "or*"
    assert pgdbm("freeze", "set").code == 2
    assert pgdbm("freeze", "lift", "other").out == "0 lifted\n"
    assert pgdbm("freeze", "lift", "--reason", "over").out == "1 lifted\n"
    assert pgdbm("freeze", "list", "--json").document["items"] == []
