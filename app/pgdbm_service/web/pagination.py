"""The parameters of pages, and their cursors, which are opaque to clients."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, TypeVar

import msgspec
from litestar.params import Parameter

from ..errors import invalid_request

T = TypeVar("T")
Limit = Annotated[int, Parameter(ge=1, le=200, description="The maximum number of items on the page.")]
Cursor = Annotated[str | None, Parameter(query="next", description="The `next` of the previous page.")]

TOTAL_LIMIT = 10_000
"""How many items of a long list are counted: only the newest ones."""

_MAX_NUMBER = 2**63 - 1
_MAX_LENGTH = 1000


def cursor_of(last: object) -> str:
    """The cursor of the page that follows the item with the key ``last``."""
    return base64.urlsafe_b64encode(msgspec.json.encode(last)).decode().rstrip("=")


def read_cursor(cursor: str, kind: type[T]) -> T:
    """The key that :func:`cursor_of` encoded.

    Raises:
        ServiceError: invalid_request.
    """
    try:
        if len(cursor) > _MAX_LENGTH:
            raise ValueError(cursor)
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        last = msgspec.json.decode(raw, type=kind)
        if "\\u0000" in raw.decode():
            raise ValueError(cursor)
    except (binascii.Error, ValueError, msgspec.MsgspecError, RecursionError):
        raise invalid_request([{"field": "next", "message": "not a cursor that this call returned"}]) from None
    return last


def read_number(cursor: str | None) -> int | None:
    """The row number in a cursor; None without a cursor.

    Raises:
        ServiceError: invalid_request.
    """
    return None if cursor is None else min(max(read_cursor(cursor, int), 0), _MAX_NUMBER)
