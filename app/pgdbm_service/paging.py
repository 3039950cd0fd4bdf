"""Cursors of pages: a number that nobody is to read anything into."""

from __future__ import annotations

import base64
import binascii

from .errors import invalid_request

_BYTES = 8


def cursor_of(number: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes(_BYTES, "big")).decode().rstrip("=")


def number_in(cursor: str) -> int:
    """The number of a cursor.

    Raises:
        Problem: invalid_request, for what :func:`cursor_of` has not made.
    """
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    number = int.from_bytes(raw, "big")
    if len(raw) != _BYTES or not 0 < number < 2**63:
        raise invalid_request([{"field": "next", "message": "not a cursor that this call has given"}])
    return number
