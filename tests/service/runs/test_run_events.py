"""The events of a run: streams that can be resumed, and the same by polling."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.support.waiting import eventually

from ..event_streams import read
from ..observability.test_metrics import Scraped
from ..running_service import http_post, http_stream

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = "CREATE TABLE {{tables.t}} (id integer PRIMARY KEY)"
SLEEPING = "SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
ASYNC = {"Prefer": "respond-async"}
OURS = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'pgdbm_service'"


def submitted(service: Any, module: str) -> str:
    response = service.post(f"/modules/{module}/migrate", headers=ASYNC)
    assert response.status_code == 202, response.text
    return str(response.headers["location"])


def followed(service: Any, address: str, after: int | None = None) -> list[Any]:
    headers = {} if after is None else {"Last-Event-ID": str(after)}
    with service.client.stream("GET", f"{address}/events", headers=headers) as response:
        return list(read(response))


def test_the_stream_has_every_event_of_a_run(service: Any, repo: Any) -> None:
    repo.write("m", _001_a=TABLE, _002_b="SELECT 1; SELECT pg_sleep(0.7); SELECT 3")
    service.sync()
    events = followed(service, submitted(service, "m"))
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    kinds = [event.kind for event in events]
    assert kinds[:2] == ["run_queued", "schema_started"]
    assert kinds[-2:] == ["schema_ended", "run_ended"]
    assert [event.data["filename"] for event in events if event.kind == "migration_ended"] == ["001_a.sql", "002_b.sql"]
    progress = [event.data for event in events if event.kind == "progress"]
    assert {
        "filename": "002_b.sql",
        "statement": 2,
        "statements": 3,
        "applied_count": 1,
        "pending_count": 2,
    }.items() <= max(progress, key=lambda data: (data["filename"], data["statement"] == 2)).items()
    assert events[-1].data["status"] == "succeeded"
    assert all(event.data["at"].endswith("Z") for event in events)


@pytest.mark.parametrize("files", [1, 30])
def test_notices_are_events(service: Any, repo: Any, files: int) -> None:
    others = {f"_{number:03}": "SELECT 1" for number in range(2, files + 1)}
    repo.write("m", _001_a="DO $$ BEGIN RAISE WARNING 'three rows had no owner'; END $$", **others)
    service.sync()
    events = followed(service, submitted(service, "m"))
    shown = [event.data for event in events if event.kind == "notice"]
    assert [(one["filename"], one["severity"], one["message"], one["schema"]) for one in shown] == [
        ("001_a.sql", "WARNING", "three rows had no owner", "m")
    ]


def test_a_stream_resumes_after_any_event(service: Any, repo: Any) -> None:
    repo.write("m", _001_a=TABLE, _002_b="SELECT 1 / 0")
    service.sync()
    address = submitted(service, "m")
    events = followed(service, address)
    assert events[-1].data["problem"]["code"] == "migration_failed"
    for number in range(len(events)):
        assert followed(service, address, number) == events[number:]
    done = service.get(f"{address}/events", headers={"Last-Event-ID": str(len(events))})
    assert (done.status_code, done.content) == (204, b"")
    # An unknown event id is ignored, and no event is missed.
    with service.client.stream("GET", f"{address}/events", headers={"Last-Event-ID": "x"}) as response:
        assert list(read(response)) == events


def test_a_stream_resumes_through_another_replica(start: Callable[..., Any], repo: Any) -> None:
    repo.write("m", **{f"_{number:03}": "SELECT pg_sleep(0.1)" for number in range(1, 11)})
    one, other = start(), start()
    address = submitted(one, "m")
    with one.client.stream("GET", f"{address}/events") as response:
        first = list(itertools.islice(read(response), 5))
    rest = followed(other, address, first[-1].number)
    assert [event.number for event in first + rest] == list(range(1, len(first + rest) + 1))
    ended = [event.data["filename"] for event in first + rest if event.kind == "migration_ended"]
    assert ended == [f"{number:03}.sql" for number in range(1, 11)]
    assert rest[-1].kind == "run_ended"


def test_a_quiet_stream_has_comments(start: Callable[..., Any], repo: Any) -> None:
    repo.write("m", _001_a="SELECT pg_sleep(1)")
    service = start(stream_keep_alive_s=0.1)
    assert [event.kind for event in followed(service, submitted(service, "m"))].count("comment") >= 3


def test_blockers_are_reported_without_their_query(
    start: Callable[..., Any], repo: Any, connect: Callable[..., Any]
) -> None:
    repo.write("m", _001_a=TABLE)
    service = start(metrics_sample_s=0.05)
    scraped = Scraped(service)
    service.post("/modules/m/migrate")
    eventually(lambda: scraped.value("pgdbm_run_quiet_seconds", module="m") == 0)
    repo.write("m", _002_b="ALTER TABLE {{tables.t}} ADD COLUMN n integer")

    def is_blocked() -> bool:
        quiet = scraped.value("pgdbm_run_quiet_seconds", module="m")
        return scraped.value("pgdbm_schemas_blocked", module="m") == 1 and bool(quiet)

    async def observe() -> tuple[Any, Any, int]:
        async with connect() as connection:
            async with connection.transaction():
                await connection.execute("LOCK TABLE m.t IN ACCESS SHARE MODE")
                address = await asyncio.to_thread(submitted, service, "m")
                deadline = time.monotonic() + 30
                progress: Any = {}
                while not progress.get("waiting_for") and time.monotonic() < deadline:
                    await asyncio.sleep(0.05)
                    run = (await asyncio.to_thread(service.get, address)).json()
                    progress = (run["schemas"][0] if run["schemas"] else {}).get("progress") or {}
                await asyncio.to_thread(eventually, is_blocked)
            events = await asyncio.to_thread(followed, service, address)
            return progress, events, connection.get_server_pid()

    progress, events, pid = asyncio.run(observe())
    assert (progress["filename"], progress["statement"], progress["statements"]) == ("002_b.sql", 1, 1)
    (blocker,) = progress["waiting_for"]
    assert blocker["pid"] == pid
    assert blocker["query"] == "LOCK TABLE m.t IN ACCESS SHARE MODE"
    assert (blocker["relation"], blocker["mode"]) == ("m.t", "ACCESS EXCLUSIVE")
    blocked = [event.data["waiting_for"] for event in events if event.kind == "blocked"]
    assert [one["pid"] for one in blocked[0]] == [pid]
    assert events[-1].data["status"] == "succeeded"
    eventually(lambda: scraped.value("pgdbm_schemas_blocked", module="m") == 0)


def test_many_statements_make_few_events(service: Any, repo: Any) -> None:
    repo.write("m", _001_a=TABLE, _002_b=";".join(f"INSERT INTO {{{{tables.t}}}} VALUES ({n})" for n in range(1000)))
    service.sync()
    began = time.monotonic()
    events = followed(service, submitted(service, "m"))
    seconds = time.monotonic() - began
    # Five per second, and the events that occur once per file, run and schema.
    assert [event.kind for event in events].count("progress") <= 5 * seconds + 2
    assert len(events) < 5 * seconds + 15


def test_events_count_many_files(service: Any, repo: Any) -> None:
    """Without a listener of the engine, which would be slower."""
    files = {f"_{number:03}": "SELECT 1" for number in range(1, 30)} | {"_030": "SELECT pg_sleep(1.6)"}
    repo.write("m", **files)
    service.sync()
    events = followed(service, submitted(service, "m"))
    progress = [event.data for event in events if event.kind == "progress"]
    # A read may come between the last commit and the end.
    assert [(one["applied_count"], one["pending_count"]) for one in progress][:1] == [(29, 30)]
    assert not [event for event in events if event.kind == "migration_started"]


async def test_events_during_the_last_write_are_kept(
    service: Any, repo: Any, sql: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """The migrations end while a write of earlier events waits for the table."""
    repo.write("m", _001_a="SELECT pg_sleep(1)", _002_b="SELECT pg_sleep(1.5)", _003_c=TABLE)
    service.sync()
    address = await asyncio.to_thread(submitted, service, "m")
    sleeping = "SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
    await asyncio.to_thread(eventually, lambda: sql(sleeping))
    async with connect() as connection, connection.transaction():
        await connection.execute("LOCK TABLE pgdbm_service.run_events IN SHARE MODE")
        await asyncio.to_thread(eventually, lambda: sql("SELECT WHERE to_regclass('m.t') IS NOT NULL"))
    events = await asyncio.to_thread(followed, service, address)
    ended = [event.data["filename"] for event in events if event.kind == "migration_ended"]
    assert ended == ["001_a.sql", "002_b.sql", "003_c.sql"]


async def test_a_thousand_streams_share_one_connection(
    start: Callable[..., Any], repo: Any, connect: Callable[..., Any]
) -> None:
    repo.write("m", _001_a="SELECT pg_advisory_xact_lock(7)", _002_b=TABLE)
    service = start(max_connections=4, log_level="error")
    at = urlsplit(service.url)

    async def opened(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A stream whose status line has been read. Like a client, it tries again after a 503."""
        while True:
            reader, writer = await asyncio.open_connection(at.hostname, at.port)
            writer.write(f"GET {address}/events HTTP/1.1\r\nHost: {at.netloc}\r\n\r\n".encode())
            status = await reader.readline()
            if b" 503 " not in status:
                assert b" 200 " in status
                return reader, writer
            writer.close()
            await asyncio.sleep(1)

    async def listen(address: str, is_listening: asyncio.Semaphore) -> Any:
        reader, writer = await opened(address)
        try:
            await reader.readuntil(b"event: schema_started")
            is_listening.release()
            # The last chunk is an empty one.
            return re.findall(rb"event: (\w+)", await reader.readuntil(b"\r\n0\r\n"))
        finally:
            writer.close()

    async with connect() as connection:
        await connection.execute("SELECT pg_advisory_lock(7)")
        address = await asyncio.to_thread(submitted, service, "m")
        is_listening = asyncio.Semaphore(0)
        # A stream that fails cancels the wait for the others.
        async with asyncio.timeout(240), asyncio.TaskGroup() as streams:
            listening = [streams.create_task(listen(address, is_listening)) for _ in range(1000)]
            for _ in listening:
                await is_listening.acquire()
            open_now = len(await connection.fetch(f"SELECT {OURS}"))
            await connection.execute("SELECT pg_advisory_unlock(7)")
    received = [stream.result() for stream in listening]
    assert all(one == received[0] for one in received)
    assert received[0][-1] == b"run_ended"
    # The pool, and the one connection that listens.
    assert open_now <= 4 + 1


def test_the_listening_connection_is_restored(
    service: Any, repo: Any, sql: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    repo.write("m", _001_a="SELECT pg_sleep(1)")
    service.sync()
    listening = f"{OURS} AND query ~ '^LISTEN|^SELECT$'"
    (before,) = eventually(lambda: sql(f"SELECT pid {listening}"))
    sql("SELECT pg_terminate_backend($1)", before["pid"])
    eventually(lambda: [row for row in sql(f"SELECT pid {listening}") if row["pid"] != before["pid"]])
    began = time.monotonic()
    events = followed(service, submitted(service, "m"))
    assert events[-1].kind == "run_ended"
    # The reader is notified: it does not find the event by polling every few seconds.
    assert time.monotonic() - began < 4


def test_a_stream_ends_with_a_reason_when_the_service_stops(
    fork: Callable[..., Any], repo: Any, database: str, sql: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    repo.write("m", _001_a="SELECT pg_sleep(1)")
    process = fork(DATABASE_URL=database)
    url = process.url()
    address = http_post(f"{url}/modules/m/migrate", headers=ASYNC).headers["location"]

    events: list[Any] = []

    def follow() -> None:
        with http_stream("GET", f"{url}{address}/events", timeout=30) as response:
            for event in read(response):
                events.append(event)  # noqa: PERF402 - one by one, as they come

    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(follow)
        eventually(lambda: events)
        eventually(lambda: sql(SLEEPING))
        process.popen.terminate()
        call.result()
    assert (events[-1].kind, events[-1].data, events[-1].number) == ("closing", {"reason": "shutting_down"}, None)
    assert process.wait() == 0
