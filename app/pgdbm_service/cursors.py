"""Cursors of paged lists: the number of the last row of a page, so that nobody reads a meaning into it."""

from __future__ import annotations

import base64
import binascii

from .errors import invalid_request

_BYTES = 8
# PostgreSQL's largest bigint.
_LARGEST = 2**63 - 1


def cursor_of(number: int | None) -> str | None:
    """The ``next`` of a page that goes on behind row ``number``; None for none."""
    if number is None:
        return None
    return base64.urlsafe_b64encode(number.to_bytes(_BYTES, "big")).decode().rstrip("=")


def number_in(cursor: str | None) -> int | None:
    """The number in a ``next`` that was given back.

    Raises:
        Problem: invalid_request, for what no page has given.
    """
    if cursor is None:
        return None
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    number = int.from_bytes(raw, "big")
    if len(raw) != _BYTES or not 0 < number <= _LARGEST:
        raise invalid_request([{"field": "next", "message": "not a cursor that this call has given"}])
    return number
