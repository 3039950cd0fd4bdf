"""A database server, or a proxy before it, whose messages are damaged or arrive in pieces."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, Any

import asyncpg
import asyncpg.protocol
import pytest

from pgdbm_service.database.failures import service_error_of
from pgdbm_service.database.message_checks import check_messages

from ...support.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Message = tuple[bytes, bytes]


@pytest.fixture(autouse=True)
def _checked() -> Iterator[None]:
    before = asyncpg.protocol.Protocol
    check_messages()
    yield
    vars(asyncpg.protocol)["Protocol"] = before


def _messages(sent: bytes) -> Iterator[Message]:
    position = 0
    while position < len(sent):
        (length,) = struct.unpack_from("!i", sent, position + 1)
        yield sent[position : position + 1], sent[position + 5 : position + 1 + length]
        position += 1 + length


def _packed(kind: bytes, content: bytes, length: int | None = None) -> bytes:
    return kind + struct.pack("!i", len(content) + 4 if length is None else length) + content


def _without_end(kind: bytes, content: bytes) -> bytes:
    return _packed(kind, content.replace(b"\0", b"a"))


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        pytest.param(b"C", lambda kind, content: _packed(kind, content, -5), id="negative length"),
        pytest.param(b"C", lambda kind, content: _packed(kind, content, 3), id="length below its own"),
        pytest.param(b"C", lambda kind, content: _packed(kind, content, 0x7FFFFFFF), id="length above a gigabyte"),
        pytest.param(b"C", lambda _, content: _packed(b"\xff", content), id="unknown type"),
        pytest.param(b"C", _without_end, id="tag without an end"),
        pytest.param(b"N", _without_end, id="notice without an end"),
        pytest.param(b"S", _without_end, id="parameter without an end"),
        pytest.param(b"A", _without_end, id="notification without an end"),
        pytest.param(b"Z", lambda kind, _: _packed(kind, b""), id="no state"),
    ],
)
def test_the_connection_is_closed(database: str, kind: bytes, damage: Callable[[bytes, bytes], bytes]) -> None:
    armed, damaged = asyncio.Event(), asyncio.Event()

    def answers(sent: bytes) -> Iterable[bytes]:
        if not armed.is_set():
            yield sent
            return
        for one, content in _messages(sent):
            if one == kind:
                damaged.set()
            yield damage(one, content) if one == kind else _packed(one, content)

    async def use() -> None:
        async with Proxy(database, answers=answers) as proxy:
            connection = await asyncpg.connect(proxy.dsn)
            await connection.add_listener("channel", print)
            armed.set()
            with pytest.raises(asyncpg.ConnectionDoesNotExistError):
                async with asyncio.timeout(30):
                    await connection.execute(
                        "NOTIFY channel; SET application_name = 'damaged'; DO $$ BEGIN RAISE NOTICE 'x'; END $$"
                    )
            assert connection.is_closed()

    asyncio.run(use())
    assert damaged.is_set()


@pytest.mark.parametrize("kind", [b"R", b"S", b"K", b"Z"])
def test_damage_while_connecting(database: str, kind: bytes) -> None:
    def answers(sent: bytes) -> Iterable[bytes]:
        yield b"".join(
            _packed(one, content[:3] * (one != b"Z") if one == kind else content) for one, content in _messages(sent)
        )

    async def use() -> None:
        async with Proxy(database, answers=answers) as proxy:
            with pytest.raises((ConnectionError, asyncpg.PostgresError, asyncpg.InterfaceError)):
                await asyncpg.connect(proxy.dsn, timeout=30)

    asyncio.run(use())


@pytest.mark.parametrize("kind", [b"T", b"D"], ids=["columns", "rows"])
@pytest.mark.parametrize("byte", [0xFF, 0x7F])
def test_a_damaged_answer_is_an_outage(database: str, kind: bytes, byte: int) -> None:
    place: int | None = None

    def answers(sent: bytes) -> Iterable[bytes]:
        nonlocal place
        for one, content in _messages(sent):
            if one == kind and place is not None:
                content, place = content[:place] + bytes([byte]) + content[place + 1 :], None
            yield _packed(one, content)

    async def use() -> None:
        nonlocal place
        details = set()
        async with Proxy(database, answers=answers) as proxy:
            for wanted in range(14):
                place = None
                connection = await asyncpg.connect(proxy.dsn)
                place = wanted
                # A value that is changed to another valid one cannot be noticed.
                (result,) = await asyncio.gather(
                    connection.fetch("SELECT 'é' || $1 AS text, $2::int AS number", "a", 1, timeout=10),
                    return_exceptions=True,
                )
                if isinstance(result, Exception):
                    problem = service_error_of(result)
                    assert problem.code == "database_unavailable", repr(result)
                    details.add(problem.detail)
                connection.terminate()
        assert any("could not be understood" in detail for detail in details)

    asyncio.run(use())


@pytest.mark.parametrize(
    ("column", "damaged"),
    [
        pytest.param(b"number\0", b"numbeR\0", id="that is read"),
        pytest.param(b"readable\0", b"readabne\0", id="that is a field"),
        pytest.param(b"within_hour\0", b"within_houR\0", id="of a registration"),
    ],
)
def test_a_damaged_column_is_an_outage_and_not_kept(
    start: Callable[..., Any],
    proxy: Any,
    proxied: str,
    sql: Callable[..., Any],
    eventually: Callable[..., Any],
    column: bytes,
    damaged: bytes,
) -> None:
    service = start(database_url=proxied, max_connections=4)
    files = [{"filename": "001_a.sql", "content": "SELECT 1;"}]
    assert service.client.put("/modules/m", json={"migrations": files}).status_code == 201
    # Then every answer has rows: without any, a damaged column is noticed only when the connection next reads some.
    assert service.post("/modules/m/migrate").json()["status"] == "success"
    proxy.damages[column] = damaged
    # Each connection gets the columns of a statement once: background jobs may have used all connections by now.
    sql(
        "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity "
        "WHERE application_name = 'pgdbm_service' AND datname = current_database()"
    )
    eventually(service.ready)
    answers = []
    for number in range(2, 7):
        files.append({"filename": f"{number:03}_a.sql", "content": "SELECT 1;"})
        answers += [
            service.client.put("/modules/m", json={"migrations": files}),
            service.post("/modules/m/migrate"),
            service.get("/modules/m"),
        ]
    assert not proxy.damages
    refused = [one.json() for one in answers if not one.is_success]
    # None, if a background job was the first to use the statement.
    assert [one["code"] for one in refused] in ([], ["database_unavailable"]), refused
    assert all("could not be understood" in one["detail"] for one in refused)
    assert all(one.is_success for one in answers[-6:])
    assert service.get("/modules/m").json()["applied"] == len(files)


def test_a_damaged_file_of_a_bundle_is_an_outage_and_not_applied(
    start: Callable[..., Any], proxy: Any, proxied: str, sql: Callable[..., Any]
) -> None:
    text = "CREATE TABLE {{tables.t}} (a int DEFAULT 4711);"
    files = [{"filename": "001_a.sql", "content": text}]
    other = start()
    assert other.client.put("/modules/m", json={"migrations": files}).status_code == 201
    # The one that reads the bundle, in which one character is another.
    proxy.damages[b"DEFAULT 4711"] = b"DEFAULT 4712"
    service = start(database_url=proxied, max_connections=4)
    answers = [service.post("/modules/m/migrate") for _ in range(6)]
    assert not proxy.damages
    refused = [one.json() for one in answers if not one.is_success]
    assert all(one["code"] == "database_unavailable" for one in refused), refused
    assert answers[-1].is_success
    (row,) = sql("SELECT column_default FROM information_schema.columns WHERE table_name = 't' AND table_schema = 'm'")
    assert row[0] == "4711"


def test_messages_may_arrive_in_pieces(database: str) -> None:
    def pieces(sent: bytes) -> Iterable[bytes]:
        size = 4999 if len(sent) > 5000 else 1
        return [sent[place : place + size] for place in range(0, len(sent), size)]

    async def use() -> None:
        async with Proxy(database, answers=pieces) as proxy:
            connection = await asyncpg.connect(proxy.dsn)
            rows = await connection.fetch("SELECT n, repeat('é', n) AS text FROM generate_series(0, 300) AS n")
            assert [len(row["text"]) for row in rows] == list(range(301))
            assert await connection.fetchval("SELECT repeat('a', 3000000)") == "a" * 3_000_000
            with pytest.raises(asyncpg.DivisionByZeroError):
                await connection.fetchval("SELECT 1 / 0")
            assert await connection.fetchval("SELECT 1") == 1
            await connection.close()

    asyncio.run(use())
