"""Runs that wait for a lock, and the sessions that hold it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterator


class BlockedRun(NamedTuple):
    """``location`` is that of the API, ``pid`` that of the session that blocks it."""

    location: str
    pid: int


@contextlib.contextmanager
def holding(database: str, statement: str, application_name: str) -> Iterator[int]:
    """A session, given by its process id, that is idle in a transaction after ``statement``."""
    session = psycopg.connect(database, application_name=application_name)
    try:
        session.execute(statement.encode())
        yield session.info.backend_pid
    finally:
        session.close()


@contextlib.contextmanager
def blocked_run(service: Any, repo: Any, database: str) -> Iterator[BlockedRun]:
    """A run of ``002_b.sql`` of the module m that waits, until the block ends, for a lock on ``m.t`` which a session
    named reporting holds. It tries for a minute.
    """
    repo.write("m", _001_a="CREATE TABLE {{tables.t}} (id integer PRIMARY KEY)")
    service.sync()
    assert service.post("/modules/m/migrate").status_code == 200
    repo.write("m", _002_b="ALTER TABLE {{tables.t}} ADD COLUMN a integer")
    service.sync()
    with holding(database, "LOCK TABLE m.t IN ACCESS SHARE MODE", "reporting") as pid:
        answer = service.post(
            "/modules/m/migrate", headers={"Prefer": "respond-async"}, json={"lock_timeout_ms": 60_000}
        )
        yield BlockedRun(answer.headers["location"], pid)
