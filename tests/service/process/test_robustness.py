"""Malformed requests, and changes to the service's database: each gets its answer, and the service keeps running."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import tarfile
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import asyncpg

from pgdbm_service.database.pool import Database
from pgdbm_service.runs.notifier import Notifier
from pgdbm_service.runs.queue import Item, Queue, enqueue
from pgdbm_service.settings import Settings
from pgdbm_service.web.pagination import cursor_of

if TYPE_CHECKING:
    from collections.abc import Callable

JSON = {"Content-Type": "application/json"}
ONE = {"migrations": [{"filename": "001_a.sql", "content": "SELECT 1"}]}


def archive(name: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", encoding="utf-8", errors="surrogateescape") as made:
        made.addfile(tarfile.TarInfo(name))
    return packed.getvalue()


def form(field: bytes, head: bytes = b"") -> dict[str, Any]:
    content = b'--x\r\nContent-Disposition: form-data; name="schema"' + head + b"\r\n\r\n" + field + b"\r\n--x--\r\n"
    return {"content": content, "headers": {"Content-Type": "multipart/form-data; boundary=x"}}


def test_malformed_requests_are_refused(start: Callable[..., Any], repo: Any) -> None:
    repo.write("m", _001_a="SELECT 1")
    service = start()
    deep = b'{"a":' * 50_000
    requests: list[tuple[str, str, int, dict[str, Any]]] = [
        # Digits in Unicode, but not a number.
        ("POST", "/modules/m/migrate", 200, {"headers": {b"Prefer": b"wait=\xb2"}}),
        ("GET", f"/schemas/{'a' * 64}", 404, {}),
        ("GET", f"/schemas?next={cursor_of('a' * 64)}", 200, {}),
        ("GET", "/runs?module=%00", 400, {}),
        ("POST", "/modules/m/migrate", 400, {"content": deep, "headers": JSON}),
        ("PUT", "/modules/r", 400, {"content": deep, "headers": JSON}),
        ("POST", "/tokens", 400, {"content": deep, "headers": JSON}),
        ("POST", "/modules/m/migrate", 422, {"json": {"target": "9" * 5000}}),
        ("PUT", "/modules/r", 400, form(b"\xff")),
        ("PUT", "/modules/r", 400, form(b"a", b"\r\nContent-Type: text/plain; charset=utf-99")),
        ("PUT", "/modules/r", 422, {"content": archive("001_\udcff.sql")}),
    ]
    for method, path, status, options in requests:
        answer = service.client.request(method, path, **options)
        assert answer.status_code == status, (method, path, answer.text[:500])
    quoting = {"migrations": [{"filename": "001_a.sql", "content": "/*" * 1000}]}
    refused = service.client.put("/modules/r", json=quoting)
    assert (refused.status_code, len(refused.content) < 1500) == (422, True)


def test_a_client_that_disconnects_is_not_an_error(
    start: Callable[..., Any], watch: Any, eventually: Callable[..., Any]
) -> None:
    """There is no answer to send, and no failure of the service to report."""
    service = start(log_level="info")
    at = urlsplit(service.url)
    with socket.create_connection((at.hostname, at.port)) as client:
        head = f"PUT /modules/left HTTP/1.1\r\nHost: {at.netloc}\r\nX-Request-ID: left-early\r\n"
        client.sendall(f"{head}Content-Length: 9\r\n\r\n".encode())
    eventually(lambda: "left-early" in watch.logged())
    (line,) = [line for line in watch.logged().splitlines() if "left-early" in line]
    assert json.loads(line)["level"] == "info", line


def test_a_read_only_database_is_an_outage(
    start: Callable[..., Any], repo: Any, database: str, eventually: Callable[..., Any]
) -> None:
    """Like a leader that has become a standby: reads are answered, writes may be retried elsewhere."""
    repo.write("m", _001_a="SELECT 1")
    service = start()

    def allow(writes: str) -> None:
        async def run() -> None:
            connection = await asyncpg.connect(database, server_settings={"default_transaction_read_only": "off"})
            name = urlsplit(database).path[1:]
            await connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = {writes}")
            ours = "datname = current_database() AND pid <> pg_backend_pid()"
            await connection.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours}")
            await connection.close()

        asyncio.run(run())

    allow("on")
    ready = eventually(lambda: "no writes" in (answer := service.get("/health/ready")).text and answer)
    assert ready.status_code == 503
    assert service.get("/modules/m").json()["pending"] == 1
    for answer in (service.post("/modules/m/migrate"), service.client.put("/modules/r", json=ONE)):
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable"), answer.text
    allow("off")
    eventually(service.ready)
    assert service.post("/modules/m/migrate").json()["status"] == "success"


def test_a_recreated_queue_is_left_to_other_replicas(database: str) -> None:
    """Its items have the numbers of previous ones: a replica that remembers those would end the wrong items."""
    taken: list[tuple[str, UUID]] = []

    async def connected() -> Database:
        one = Database(Settings(database_url=database))
        one.begin(database)
        await one.connected.wait()
        return one

    def queue_over(one: Database, name: str) -> Queue:
        async def take(item: Item) -> None:
            taken.append((name, item.run))

        return Queue(one, listeners[one], take, limit=2, stale_s=0.4)

    listeners: dict[Database, Notifier] = {}

    async def scenario() -> list[UUID]:
        previous, items = await connected(), [Item(uuid4(), number) for number in range(3)]
        listeners[previous] = Notifier(previous)
        old = queue_over(previous, "old")
        await previous.manager().execute("DROP SCHEMA pgdbm_service CASCADE")
        later = await connected()
        listeners[later] = Notifier(later)
        for one in listeners.values():
            one.start()
        async with later.manager().transaction() as transaction:
            await enqueue(transaction.connection, items, priority=0)
        old.start()
        await asyncio.sleep(0.5)
        new = queue_over(later, "new")
        new.start()
        async with asyncio.timeout(10):
            while len(taken) < len(items):
                await asyncio.sleep(0.02)
        for queue in (old, new):
            await queue.close()
        for one, listener in listeners.items():
            await listener.close()
            await one.close()
        return [item.run for item in items]

    runs = asyncio.run(scenario())
    assert sorted(taken) == sorted(("new", run) for run in runs)
