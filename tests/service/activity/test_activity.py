"""The activity of the database, with real locks and real queries."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

import asyncio

import asyncpg

SECRET = "hunter2"


class Sessions:
    """Sessions of a loop in a thread of its own: some hold a lock, some wait for one."""

    def __init__(self, database: str) -> None:
        self._database = database
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._connections: list[Any] = []
        self._waiting: list[Any] = []

    def open(self, application: str) -> Any:
        settings = {"application_name": application}
        connection = self._wait(asyncpg.connect(self._database, server_settings=settings))
        self._connections.append(connection)
        return connection

    def run(self, connection: Any, query: str) -> None:
        self._wait(connection.execute(query))

    def begin(self, connection: Any, query: str) -> None:
        self._waiting.append(asyncio.run_coroutine_threadsafe(connection.execute(query), self._loop))

    def close(self) -> None:
        async def end() -> None:
            for connection in self._connections:
                connection.terminate()

        self._wait(end())
        for future in self._waiting:
            future.exception(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    def _wait(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)


@pytest.fixture
def sessions(database: str) -> Any:
    sessions = Sessions(database)
    yield sessions
    sessions.close()


def test_blockers_are_listed_with_what_they_block(
    service: Any, sql: Callable[..., Any], sessions: Sessions, eventually: Callable[..., Any]
) -> None:
    sql("CREATE TABLE public.a ()")
    assert service.get("/activity/blocking").json() == {"items": [], "next": None}
    holder, first, second = (sessions.open(name) for name in ("holder", "first", "second"))
    sessions.run(holder, f"BEGIN; LOCK TABLE public.a IN ACCESS SHARE MODE; SELECT '{SECRET}'")
    sessions.begin(first, f"LOCK TABLE public.a /* {SECRET} */ IN ACCESS EXCLUSIVE MODE; SELECT '{SECRET}'")
    eventually(lambda: service.get("/activity/blocking").json()["items"])
    sessions.begin(second, f"SELECT '{SECRET}' FROM public.a")

    def two_deep() -> Any:
        [root] = service.get("/activity/blocking").json()["items"]
        return root if root["blocks"] and root["blocks"][0]["blocks"] else None

    root = eventually(two_deep)
    [waiting] = root["blocks"]
    [last] = waiting["blocks"]
    assert [one["application_name"] for one in (root, waiting, last)] == ["holder", "first", "second"]
    assert (root["state"], root["waiting_s"]) == ("idle in transaction", None)
    assert root["transaction_age_s"] >= waiting["waiting_s"] >= last["waiting_s"] >= 0
    assert last["query"] == "SELECT ? FROM public.a"
    assert last["blocks"] == []
    assert {one["pid"] for one in (root, waiting, last)} == {
        row["pid"]
        for row in sql("SELECT pid FROM pg_stat_activity WHERE application_name IN ('holder', 'first', 'second')")
    }
    assert SECRET not in service.get("/activity/blocking").text


def test_long_running_queries_are_listed(service: Any, sessions: Sessions, eventually: Callable[..., Any]) -> None:
    sleeper = sessions.open("sleeper")
    sessions.begin(sleeper, f"SELECT pg_sleep(60), '{SECRET}'")

    def seen(threshold_s: float) -> list[Any]:
        items = service.get("/activity/long-running", params={"threshold_s": threshold_s}).json()["items"]
        return [item for item in items if item["application_name"] == "sleeper"]

    [found] = eventually(lambda: seen(0.01))
    assert found["query"] == "SELECT pg_sleep(?), ?"
    assert found["state"] == "active"
    assert found["duration_s"] >= 0.01
    assert found["started_at"].endswith("Z")
    assert seen(3600) == []
    assert service.get("/activity/long-running").json() == {"items": [], "next": None}
    for bad in ("-1", "soon", "nan"):
        assert service.get("/activity/long-running", params={"threshold_s": bad}).status_code == 400


def test_the_pool_is_described(start: Callable[..., Any], repo: Any, eventually: Callable[..., Any]) -> None:
    repo.write("m", _001_a="SELECT pg_sleep(1)")
    service = start(max_connections=5)
    idle = service.get("/activity/pool").json()
    assert (idle["max"], idle["migrating_max"], idle["migrating"], idle["waiting"]) == (5, 3, 0, 0)
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(service.post, "/modules/m/migrate")

        def migrating() -> Any:
            pool = service.get("/activity/pool").json()
            # It gets its slot a moment before its connection.
            return pool if pool["migrating"] == 1 and pool["used"] >= 1 else None

        busy = eventually(migrating)
        assert call.result().status_code == 200
    assert busy["free"] == busy["size"] - busy["used"]
    after = service.get("/activity/pool").json()
    assert (after["migrating"], after["waiting"]) == (0, 0)


def test_activity_answers_503_without_a_database(start: Callable[..., Any], proxy: Any, proxied: str) -> None:
    service = start(database_url=proxied)
    proxy.cut()
    for path in ("/activity/blocking", "/activity/long-running"):
        response = service.get(path)
        assert (response.status_code, response.json()["code"]) == (503, "database_unavailable"), response.text
    assert service.get("/activity/pool").status_code == 200
