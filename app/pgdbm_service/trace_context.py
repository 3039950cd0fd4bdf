"""The W3C trace context of a request, also where no traces are made here: a replica that makes them may do the work."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from litestar.types import Scope

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def traceparent_of(scope: Scope) -> str | None:
    """What continues the trace of a request: its own span, where it has one, or what the caller sent.

    None where there is no trace, or what was sent is no traceparent.
    """
    own: str | None = scope["state"].get("traceparent")
    if own is not None:
        return own
    sent = [value.decode("latin-1") for name, value in scope["headers"] if name == b"traceparent"]
    return sent[0] if len(sent) == 1 and _TRACEPARENT.fullmatch(sent[0]) else None
