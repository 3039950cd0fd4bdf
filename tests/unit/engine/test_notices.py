"""Reading notices and limiting errors in the stream of the server's messages."""

from __future__ import annotations

from typing import Any

import pytest

from pgdbm.migrations.engine.notices import NoticeCollector, _MessageFilter, collected


def message(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + 4).to_bytes(4, "big") + body


def fields(**texts: str) -> bytes:
    return b"".join(key.encode() + text.encode() + b"\0" for key, text in texts.items()) + b"\0"


COMPLETE = message(b"C", b"SELECT 1\0")
COMMIT = message(b"C", b"COMMIT\0")
ROW = message(b"D", b"\0" * 300)
READY = message(b"Z", b"I")
NOTICE = message(b"N", fields(S="HINWEIS", V="NOTICE", C="00000", M="schon da"))
ERROR = message(b"E", fields(S="ERROR", V="ERROR", C="22012", M="division by zero", P="8"))


class Inner:
    def __init__(self) -> None:
        self.received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data


class Transport:
    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_protocol(self) -> Any:
        return self.protocol


class Connection:
    def __init__(self) -> None:
        self._protocol = Inner()
        self._transport = Transport(self._protocol)

    def receive(self, data: bytes, size: int) -> bytes:
        for start in range(0, len(data), size):
            self._transport.protocol.data_received(data[start : start + size])
        return self._protocol.received


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64, 10_000])
def test_notices_are_found_wherever_the_chunks_end(size: int) -> None:
    connection: Any = Connection()
    collector = NoticeCollector(lambda _: None)
    collector.start(["1.sql", "2.sql"])
    with collected(connection, collector):
        received = connection.receive(
            COMPLETE + NOTICE + ROW + COMMIT + NOTICE + COMPLETE + ERROR + COMMIT + NOTICE + READY, size
        )
    assert received == COMPLETE + ROW + COMMIT + COMPLETE + ERROR + COMMIT + READY
    assert [(one.filename, one.severity, one.message) for one in collector.notices] == [
        ("1.sql", "NOTICE", "schon da"),
        ("2.sql", "NOTICE", "schon da"),
        ("2.sql", "NOTICE", "schon da"),
    ]
    assert connection._transport.protocol is connection._protocol


def row(text: str) -> bytes:
    return message(b"D", b"\0\1" + len(text.encode()).to_bytes(4, "big") + text.encode())


def test_the_times_of_files_are_found_in_the_rows_of_the_history() -> None:
    connection: Any = Connection()
    collector = NoticeCollector(lambda _: None)
    collector.start(["1.sql", "ü: 2.sql", "3.sql"])
    others = row("pgdbm:took:9:other.sql") + row("pgdbm:took:-1:3.sql") + row("pgdbm:took:") + row("took") + ROW
    sent = others + row("pgdbm:took:12:1.sql") + COMMIT + row("pgdbm:took:0:ü: 2.sql") + COMMIT
    with collected(connection, collector):
        assert connection.receive(sent, 10_000) == sent
    assert collector.times == {"1.sql": 12, "ü: 2.sql": 0}


@pytest.mark.parametrize("size", [1, 4096])
def test_long_texts_are_cut(size: int) -> None:
    connection: Any = Connection()
    collector = NoticeCollector(lambda _: None)
    long = "ü" * 20_000
    with collected(connection, collector):
        received = connection.receive(
            message(b"N", fields(V="WARNING", C="01000", M=long)) + message(b"E", fields(C="XX000", M=long, P="8")),
            size,
        )
    assert collector.notices[0].message == "ü" * 500 + "… (39,000 more bytes)"
    text = received[5:].decode()
    assert text == f"CXX000\0M{'ü' * 4000}… (32,000 more bytes)\0P8\0\0"
    assert int.from_bytes(received[1:5], "big") == len(received) - 1


def test_the_first_hundred_notices_are_kept() -> None:
    connection: Any = Connection()
    received: list[str] = []
    collector = NoticeCollector(lambda notice: received.append(notice.message))
    with collected(connection, collector):
        connection.receive(NOTICE * 250, 1000)
    assert (len(collector.notices), len(received), collector.omitted) == (100, 100, 150)
    assert collector.notices[0].filename is None


def test_only_messages_that_arrive_in_chunks_are_buffered(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    begin = _MessageFilter._begin

    def count(self: _MessageFilter, passed: bytearray) -> None:
        calls.append(1)
        begin(self, passed)

    monkeypatch.setattr(_MessageFilter, "_begin", count)
    connection: Any = Connection()
    with collected(connection, NoticeCollector(lambda _: None)):
        sent = (ROW + COMPLETE) * 1000
        assert connection.receive(sent, 1000) == sent
    assert len(calls) <= len(sent) / 1000
