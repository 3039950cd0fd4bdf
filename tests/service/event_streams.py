"""Reading Server-Sent Events."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx2


# How long a stream may last: keep-alive comments would keep a test waiting for an event that does not come.
LONGEST_S = 120


class Event(NamedTuple):
    """``kind`` is "comment" for a comment."""

    kind: str
    number: int | None
    data: dict[str, Any]


def read(response: httpx2.Response) -> Iterator[Event]:
    """The events of a stream, as they come, until it ends; fails if it has not ended after ``LONGEST_S``."""
    deadline = time.monotonic() + LONGEST_S
    seen: list[str] = []
    assert response.status_code == 200, response.read()
    assert response.headers["content-type"].startswith("text/event-stream")
    kind, number, data = "message", None, ""
    for line in response.iter_lines():
        assert time.monotonic() < deadline, f"the stream has not ended; it sent {seen}"
        name, _, value = line.partition(": ")
        match name:
            case "event":
                kind = value
            case "id":
                number = int(value)
            case "data":
                data += value
            case "":
                if line.startswith(": "):
                    yield Event("comment", None, {})
                elif data:
                    seen.append(kind)
                    yield Event(kind, number, json.loads(data))
                    kind, number, data = "message", None, ""
