"""Cursors: what a page ends with, opaque to those who pass it back."""

from __future__ import annotations

import base64
import binascii
from typing import TypeVar

import msgspec

from .errors import invalid_request

T = TypeVar("T")

_LARGEST = 2**63 - 1
_LONGEST = 1000


def cursor_of(last: object) -> str:
    """The cursor of the page behind ``last``."""
    return base64.urlsafe_b64encode(msgspec.json.encode(last)).decode().rstrip("=")


def read_cursor(cursor: str, kind: type[T]) -> T:
    """What :func:`cursor_of` was given.

    Raises:
        Problem: invalid_request.
    """
    try:
        if len(cursor) > _LONGEST:
            raise ValueError(cursor)
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        last = msgspec.json.decode(raw, type=kind)
        if "\\u0000" in raw.decode():
            raise ValueError(cursor)
    except (binascii.Error, ValueError, msgspec.MsgspecError, RecursionError):
        raise invalid_request([{"field": "next", "message": "not a cursor that this call has given"}]) from None
    return last


def read_number(cursor: str | None) -> int | None:
    """The number of a row in a cursor; None for no cursor.

    Raises:
        Problem: invalid_request.
    """
    return None if cursor is None else min(max(read_cursor(cursor, int), 0), _LARGEST)
