"""A receiver of webhooks on a port of its own, which checks signatures, and can fail."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

from tests.support.http_server import served

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Received:
    id: str
    body: dict[str, Any]
    headers: dict[str, str]
    answered: int


@dataclass
class Receiver:
    """``statuses`` are the answers to the next requests; later ones get 204. ``delay_s`` is how long each takes."""

    port: int = 0
    statuses: list[int] = field(default_factory=list)
    delay_s: float = 0.0
    location: str | None = None
    received: list[Received] = field(default_factory=list)
    raw: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks/1?team=a"

    @property
    def accepted(self) -> list[Received]:
        return [one for one in self.received if one.answered == 204]

    @property
    def events(self) -> list[str]:
        """The types of the accepted events, without repetitions."""
        return [one.body["type"] for one in {one.id: one for one in self.accepted}.values()]


def is_signed(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """Whether any signature in ``headers`` is right: written from the specification, not with the service's code."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    text = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
    return any(hmac.compare_digest(f"v1,{expected}", one) for one in headers["webhook-signature"].split(" "))


@contextlib.contextmanager
def receiving(port: int = 0) -> Iterator[Receiver]:
    """A receiver on ``port``, or any free one."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            body = self.rfile.read(length)
            if len(body) < length:
                # The sender was killed.
                self.close_connection = True
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            time.sleep(receiver.delay_s)
            with receiver.lock:
                status = receiver.statuses.pop(0) if receiver.statuses else 204
                receiver.raw.append((headers, body))
                receiver.received.append(Received(headers["webhook-id"], json.loads(body), headers, status))
            self.send_response(status)
            if receiver.location is not None:
                self.send_header("Location", receiver.location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with served(Handler, port) as receiver.port:
        yield receiver
