"""The head of an answer is sent together with its body."""

from __future__ import annotations

import asyncio
from typing import Any

from pgdbm_service.web.server_protocol import JoinedWrites

HEAD, BODY = b"HTTP/1.1 200 OK\r\n\r\n", b"{}"


class Recorded:
    """A transport that keeps what it was given."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes) -> None:
        assert not self.is_closed
        self.sent.append(data)

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed


def joined(transport: Recorded) -> Any:
    return JoinedWrites(transport, asyncio.get_running_loop())


async def test_head_and_body_are_sent_together() -> None:
    transport = Recorded()
    answer = joined(transport)
    answer.write(HEAD)
    answer.write(BODY)
    assert transport.sent == [HEAD + BODY]
    await asyncio.sleep(0)
    answer.write(b"more")
    assert transport.sent == [HEAD + BODY, b"more"]


async def test_the_head_of_a_stream_does_not_wait_for_its_first_event() -> None:
    transport = Recorded()
    answer = joined(transport)
    answer.write(HEAD)
    assert transport.sent == []
    await asyncio.sleep(0)
    assert transport.sent == [HEAD]
    answer.write(BODY)
    assert transport.sent == [HEAD, BODY]


async def test_a_large_body_is_not_copied() -> None:
    transport = Recorded()
    answer = joined(transport)
    body = b"x" * 1_000_000
    answer.write(HEAD)
    answer.write(body)
    assert transport.sent == [HEAD, body]
    assert transport.sent[1] is body


async def test_a_head_without_a_body_is_sent_before_the_connection_closes() -> None:
    transport = Recorded()
    answer = joined(transport)
    answer.write(HEAD)
    answer.close()
    assert transport.sent == [HEAD]
    assert answer.is_closing()


async def test_nothing_is_written_to_a_lost_connection() -> None:
    transport = Recorded()
    joined(transport).write(HEAD)
    transport.close()
    await asyncio.sleep(0)
    assert transport.sent == []
