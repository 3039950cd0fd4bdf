"""Reading Server-Sent Events."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx


class Event(NamedTuple):
    """``kind`` is "comment" for a comment."""

    kind: str
    number: int | None
    data: dict[str, Any]


def read(response: httpx.Response) -> Iterator[Event]:
    """The events of a stream, as they come."""
    assert response.status_code == 200, response.read()
    assert response.headers["content-type"].startswith("text/event-stream")
    kind, number, data = "message", None, ""
    for line in response.iter_lines():
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
                    yield Event(kind, number, json.loads(data))
                    kind, number, data = "message", None, ""
