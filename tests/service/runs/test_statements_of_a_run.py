"""How many statements the usual run sends: a few files in one schema, where others have been applied before."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from pgdbm_service.database.message_checks import CheckedProtocol

if TYPE_CHECKING:
    import pytest

_MOST = 30
_SETTLED_S = 0.4
# What is sent whether or not there is a run, or more often on a busy machine: heartbeats, what the queue asks for, and
# progress.
_ALWAYS = re.compile(
    r"replicas|due_in|\.audit|pg_catalog\.pg_class c JOIN pg_catalog\.pg_namespace|carries a concurrency limit"
    r"|progress = \$6"
)


def test_a_run_of_a_few_files_sends_few_statements(service: Any, repo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        f"_{number:03}_t": f"CREATE TABLE {{{{tables.t{number}}}}} (id integer PRIMARY KEY)" for number in range(1, 6)
    }
    repo.write("m", **files)
    service.sync()
    assert service.post("/modules/m/migrate").json()["status"] == "success"
    more = {
        f"_{number:03}_t": f"CREATE TABLE {{{{tables.t{number}}}}} (id integer PRIMARY KEY)" for number in range(6, 9)
    }
    repo.write("m", **files, **more)
    service.sync()
    # Files that are younger may be incomplete, so they are read once more.
    time.sleep(_SETTLED_S)
    sent = _recorded(monkeypatch)
    answer = service.post("/modules/m/migrate").json()
    ours = [one for one in sent if not _ALWAYS.search(one)]
    assert [one["filename"] for one in answer["applied"]] == ["006_t.sql", "007_t.sql", "008_t.sql"]
    listed = "\n".join(re.sub(r"\s+", " ", one)[:100] for one in ours)
    assert 20 < len(ours) <= _MOST, f"{len(ours)} statements:\n{listed}"
    assert "typeinfo" not in listed
    assert sum("pgdbm_snapshots" in one for one in ours) == 2, listed
    assert sum("pg_advisory_unlock_all" in one for one in ours) <= 2, listed
    # The request passes its plan to the worker, which passes it to the engine.
    assert sum(one.lstrip().startswith("SELECT pg_catalog.left(filename") for one in ours) == 1, listed
    assert "SELECT number, kind, data" not in listed


def _recorded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that the service sends from now on."""
    sent: list[str] = []

    def query(self: Any, sql: str, *arguments: Any) -> Any:
        sent.append(sql)
        return super(CheckedProtocol, self).query(sql, *arguments)

    def bind_execute(self: Any, state: Any, *arguments: Any, **options: Any) -> Any:
        sent.append(state.query)
        return super(CheckedProtocol, self).bind_execute(state, *arguments, **options)

    monkeypatch.setattr(CheckedProtocol, "query", query, raising=False)
    monkeypatch.setattr(CheckedProtocol, "bind_execute", bind_execute, raising=False)
    return sent
