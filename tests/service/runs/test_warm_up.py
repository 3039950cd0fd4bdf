"""The connections that the pool keeps open have executed the statements of a run before the first one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from pgdbm_service.database.message_checks import CheckedProtocol
from pgdbm_service.database.pool import Database
from pgdbm_service.runs.warm_up import WarmUp
from pgdbm_service.settings import Settings
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

# Part of each statement that a run executes, apart from those that depend on the schema, or follow its end.
_OF_A_RUN = (
    "registry_version",
    'INTO "pgdbm_service".bundles',
    "'run_queued'",
    "AS has_ended",
    "AS approvals_given",
    "AS is_owned",
    "'schema_started'",
    "AS cancelled",
    "'schema_ended'",
    "last_runs",
    "SET summarized",
    "canary_passed = true",
    "'run_ended'",
    "run_children",
    "AS renamed",
    "touched AS MATERIALIZED",
    "pg_event_trigger",
)


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """The connection and the text of each statement that is prepared."""
    found: list[tuple[int, str]] = []

    def prepare(self: Any, name: Any, query: str, *arguments: Any, **options: Any) -> Any:
        found.append((id(self), query))
        return super(CheckedProtocol, self).prepare(name, query, *arguments, **options)

    monkeypatch.setattr(CheckedProtocol, "prepare", prepare, raising=False)
    return found


def _connections_with(prepared: list[tuple[int, str]], part: str) -> set[int]:
    return {connection for connection, query in prepared if part in query}


def test_a_run_is_rehearsed_and_rolled_back(database: str, prepared: list[tuple[int, str]]) -> None:
    async def scenario() -> None:
        one = Database(Settings(database_url=database))
        one.begin(database)
        await one.connected.wait()
        warm_up = WarmUp(one, 2)
        await warm_up.rehearse()
        for part in _OF_A_RUN:
            assert len(_connections_with(prepared, part)) == 2, part
        prepared.clear()
        await warm_up.rehearse()
        assert prepared == []
        tables = ("runs", "run_schemas", "run_events", "run_steps", "bundles", "file_contents", "last_runs", "pgqueuer")
        for table in tables:
            assert await one.manager("pgdbm_service").fetch_value(f"SELECT count(*) FROM {{{{tables.{table}}}}}") == 0
        await one.close()

    asyncio.run(scenario())


def test_the_first_run_prepares_nothing_of_the_service(
    start: Callable[..., Any], repo: Any, prepared: list[tuple[int, str]]
) -> None:
    repo.write("m", _1="CREATE TABLE {{tables.t}} (id integer PRIMARY KEY)")
    service = start()
    eventually(lambda: len(_connections_with(prepared, "AS renamed")) == 2)
    warm = _connections_with(prepared, "AS renamed")
    before = len(prepared)
    assert service.post("/modules/m/migrate").json()["status"] == "success"
    later = [query for connection, query in prepared[before:] if connection in warm]
    assert any("schema_migrations" in query for query in later)
    assert [(part, query) for part in _OF_A_RUN for query in later if part in query] == []


@pytest.mark.parametrize("settings", [{"pause_after_idle_s": 60.0}, {"min_connections": 0}])
def test_connections_that_are_not_kept_open_are_not_warmed_up(
    settings: dict[str, Any], start: Callable[..., Any], prepared: list[tuple[int, str]]
) -> None:
    service = start(**settings)
    assert service.get("/health/ready").status_code == 200
    asyncio.run(asyncio.sleep(0.6))
    assert _connections_with(prepared, "AS renamed") == set()
