"""PgBouncer refuses, waits, closes connections or is down: an outage in its words, which ends by itself."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.support.pgbouncer import Pooler, controlled_pgbouncer
from tests.support.waiting import eventually

from ..service_database import Direct

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


SLEEPING = "FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"


@pytest.fixture
def controlled(database: str) -> Iterator[Pooler]:
    with controlled_pgbouncer(database) as pooler:
        yield pooler


@contextmanager
def down(pooler: Pooler, database: str) -> Iterator[None]:
    pooler.stop()
    yield
    pooler.start()


@contextmanager
def paused(pooler: Pooler, database: str) -> Iterator[None]:
    pooler.command("PAUSE")
    yield
    pooler.command("RESUME")


@contextmanager
def killed(pooler: Pooler, database: str) -> Iterator[None]:
    name = urlsplit(database).path[1:]
    pooler.command(f"KILL {name}")
    yield
    pooler.command(f"RESUME {name}")


@contextmanager
def disabled(pooler: Pooler, database: str) -> Iterator[None]:
    """It accepts no new clients for the database. Those that are connected stay."""
    name = urlsplit(database).path[1:]
    pooler.command(f"DISABLE {name}")
    pooler.command(f"KILL {name}")
    yield
    pooler.command(f"RESUME {name}")
    pooler.command(f"ENABLE {name}")


@contextmanager
def full(pooler: Pooler, database: str) -> Iterator[None]:
    """As many clients as it may have."""
    address = pooler.base + urlsplit(database).path
    with ThreadPoolExecutor(1) as threads, closing(Direct(address)) as other, closing(Direct(database)) as direct:
        while True:
            pooler.restart(max_client_conn="1")
            waiting = threads.submit(other.sql, "SELECT pg_sleep(600)")
            eventually(lambda waiting=waiting: waiting.done() or direct.sql(f"SELECT {SLEEPING}"))
            if not waiting.done():
                break
            # The service was faster, and is the one client.
        yield
        pooler.restart(max_client_conn="500")
        assert waiting.exception() is not None


@contextmanager
def refusing(pooler: Pooler, database: str) -> Iterator[None]:
    """It does not know the user."""
    pooler.restart(auth_type="plain")
    yield
    pooler.restart(auth_type="any")


OUTAGES: dict[Any, str | None] = {
    down: "refused",
    paused: None,
    killed: None,
    disabled: "disabled",
    full: "max_client_conn",
    refusing: "password authentication failed",
}


@pytest.mark.slow
@pytest.mark.parametrize("outage", OUTAGES, ids=lambda outage: outage.__name__)
def test_an_outage_of_the_pooler(
    start: Callable[..., Any],
    repo: Any,
    database: str,
    controlled: Pooler,
    outage: Any,
) -> None:
    repo.write("m", _001_a="CREATE TABLE {{tables.a}} (id integer)")
    address = controlled.base + urlsplit(database).path
    service = start(database_url=address, direct_url=database, database_timeout_s=2, min_connections=0)
    assert service.post("/modules/m/migrate").json()["status"] == "success"
    repo.write("m", _002_b="CREATE TABLE {{tables.b}} (id integer)")
    with outage(controlled, database):
        eventually(lambda: not service.ready())
        for answer in (service.get("/modules/m"), service.post("/modules/m/migrate"), service.get("/schemas")):
            problem = answer.json()
            assert (answer.status_code, problem["code"]) == (503, "database_unavailable"), answer.text
            assert answer.headers["retry-after"]
            assert OUTAGES[outage] is None or OUTAGES[outage] in problem.get("database_message", "")
        assert service.get("/health/live").status_code == 200
    eventually(service.ready)
    eventually(lambda: service.post("/modules/m/migrate").json().get("status") in ("success", "up_to_date"))
    assert service.get("/modules/m").json()["state"] == "up_to_date"


def test_the_words_of_a_pooler_that_does_not_get_a_connection(
    start: Callable[..., Any], repo: Any, database: str, controlled: Pooler
) -> None:
    """All of its connections to the server are in use for longer than clients wait."""
    repo.write("m", _001_a="CREATE TABLE {{tables.a}} (id integer)")
    controlled.restart(default_pool_size="1", query_wait_timeout="1")
    address = controlled.base + urlsplit(database).path
    service = start(database_url=address, direct_url=database, database_timeout_s=20)
    with ThreadPoolExecutor(1) as threads, closing(Direct(address)) as other, closing(Direct(database)) as direct:
        held = threads.submit(other.sql, "SELECT pg_sleep(600)")
        eventually(lambda: direct.sql(f"SELECT {SLEEPING}"))
        answer = service.get("/schemas")
        direct.sql(f"SELECT pg_cancel_backend(pid) {SLEEPING}")
        assert held.exception() is not None
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable"), answer.text
    assert "query_wait_timeout" in answer.json()["database_message"]
    eventually(service.ready)
    assert service.post("/modules/m/migrate").json()["status"] == "success"
