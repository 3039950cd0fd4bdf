"""What no client should send, and what nobody should do to the database: answered as what it is, and survived."""

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

from pgdbm_service.cursors import cursor_of
from pgdbm_service.database import Database
from pgdbm_service.runs.listening import Listener
from pgdbm_service.runs.queue import Item, Queue, enqueue
from pgdbm_service.settings import Settings

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


def test_requests_that_make_no_sense(start: Callable[..., Any], repo: Any) -> None:
    repo.write("m", _001_a="SELECT 1")
    service = start()
    deep = b'{"a":' * 50_000
    requests: list[tuple[str, str, int, dict[str, Any]]] = [
        # Digits to Unicode, and no number.
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


def test_a_client_that_leaves_in_the_middle(
    start: Callable[..., Any], watch: Any, eventually: Callable[..., Any]
) -> None:
    """It is not told, and nobody else is told of a failure of the service's."""
    service = start(log_level="info")
    at = urlsplit(service.url)
    with socket.create_connection((at.hostname, at.port)) as client:
        head = f"PUT /modules/left HTTP/1.1\r\nHost: {at.netloc}\r\nX-Request-ID: left-early\r\n"
        client.sendall(f"{head}Content-Length: 9\r\n\r\n".encode())
    eventually(lambda: "left-early" in watch.logged())
    (line,) = [line for line in watch.logged().splitlines() if "left-early" in line]
    assert json.loads(line)["level"] == "info", line


def test_a_database_that_takes_no_writes(
    start: Callable[..., Any], repo: Any, database: str, eventually: Callable[..., Any]
) -> None:
    """As a leader that has become a standby: what reads is answered, what writes is worth a retry elsewhere."""
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


def test_its_own_schema_is_dropped(start: Callable[..., Any], repo: Any, sql: Callable[..., Any]) -> None:
    """Registrations and tokens are lost with it; what was applied stands elsewhere, and the next start goes on."""
    repo.write("m", _001_a="SELECT 1")
    service = start()
    assert service.client.put("/modules/r", json=ONE).status_code == 201
    assert service.post("/modules/m/migrate").json()["status"] == "success"
    sql("DROP SCHEMA pgdbm_service CASCADE")
    repo.write("m", _002_b="SELECT 2")
    for answer in (service.get("/runs"), service.get("/modules"), service.post("/modules/m/migrate")):
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable"), answer.text
        assert "Restart the service" in answer.json()["detail"]
    assert service.get("/health/live").status_code == 200
    restarted = start()
    result = restarted.post("/modules/m/migrate").json()
    assert [one["filename"] for one in result["applied"]] == ["002_b.sql"]
    assert [one["name"] for one in restarted.get("/modules").json()["items"]] == ["m"]
    # What another one has made anew is not what this one knows.
    (check,) = [one for one in service.get("/health/ready").json()["checks"] if not one["ok"]]
    assert "Restart the service" in check["detail"]


def test_a_queue_that_was_made_anew_is_left_to_others(database: str) -> None:
    """Its items have the numbers of former ones: who knew those would take, and end, what is somebody else's."""
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

    listeners: dict[Database, Listener] = {}

    async def scenario() -> list[UUID]:
        former, items = await connected(), [Item(uuid4(), number) for number in range(3)]
        listeners[former] = Listener(former)
        old = queue_over(former, "old")
        await former.manager().execute("DROP SCHEMA pgdbm_service CASCADE")
        later = await connected()
        listeners[later] = Listener(later)
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
