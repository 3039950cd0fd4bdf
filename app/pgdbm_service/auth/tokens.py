"""The service's own tokens: their format and their table.

``pgdbm_ID_SECRET``: the row is looked up by the id, and the SHA-256 of the whole token is compared. The secret is 256
random bits, so it cannot be guessed, and a slow hash would gain nothing.
"""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

import asyncpg

from pgdbm.errors import QueryError

from ..api.common import NewToken, Token, TokenState
from ..api.scopes import check_scopes
from ..database.sql import statement
from ..errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgdbm.core.connection import RowDict
    from pgdbm.core.manager import AsyncDatabaseManager
    from pgdbm.core.transaction import TransactionManager

NEVER = "never"

_TOKEN = re.compile(r"pgdbm_([0-9a-f]{12})_[A-Za-z0-9_-]{43}\Z")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@/-]{0,99}\Z")
_EXPIRY = re.compile(r"([1-9][0-9]{0,3})([mhdw])\Z")
_PAGE_SQL = statement("tokens", "page", matches=statement("tokens", "matches", q="$3", states="$4"))
_COUNT_SQL = statement("tokens", "count", matches=statement("tokens", "matches", q="$2", states="$3"))
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class TokenError(ValueError):
    """A token cannot be created, because ``field`` is invalid."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


class InvalidTokenError(Exception):
    """A presented token is invalid. The text says why, without values from the token."""


def id_in(text: str) -> str | None:
    """The id in a token of the service's own format; None for any other text."""
    found = _TOKEN.match(text)
    return found[1] if found else None


def digest_of(token: str) -> bytes:
    """The digest that is stored instead of the token."""
    return sha256(token.encode()).digest()


def expiry(text: str, now: datetime) -> datetime | None:
    """The time ``90d``, ``12h``, ``30m`` or ``4w`` after ``now``; None for ``never``.

    Raises:
        TokenError: ``text`` does not have this form.
    """
    if text == NEVER:
        return None
    found = _EXPIRY.match(text)
    if found is None:
        raise TokenError("expires", f"{text[:120]!r} is not a duration: write 30m, 12h, 90d, 4w or {NEVER}")
    return now + timedelta(**{_UNITS[found[2]]: int(found[1])})


async def create_token(
    db: AsyncDatabaseManager | TransactionManager, name: str, scopes: Sequence[str], expires: str, created_by: str
) -> NewToken:
    """Create a token in the service schema, which is the schema of ``db``.

    Raises:
        TokenError: the name, a scope or the expiry is invalid.
        ServiceError: token_exists.
    """
    if not _NAME.match(name):
        raise TokenError("name", f"{name[:120]!r} is not a valid name: use up to 100 letters, digits and _ . @ / -")
    try:
        checked = list(check_scopes(scopes))
    except ValueError as error:
        raise TokenError("scopes", str(error)) from None
    expires_at = expiry(expires, datetime.now(UTC))
    token_id = secrets.token_hex(6)
    token = f"pgdbm_{token_id}_{secrets.token_urlsafe(32)}"
    try:
        created_at = await db.fetch_value(
            statement("tokens", "create"), token_id, name, digest_of(token), checked, created_by, expires_at
        )
    except QueryError as error:
        if isinstance(error.original_error, asyncpg.UniqueViolationError):
            raise ServiceError("token_exists", f"There is already a token {name!r} that is not revoked.") from None
        raise
    return NewToken(
        id=token_id,
        name=name,
        scopes=checked,
        state="active",
        created_at=created_at,
        created_by=created_by,
        expires_at=expires_at,
        token=token,
    )


async def list_tokens(
    db: AsyncDatabaseManager, limit: int, before: int | None, q: str = "", states: Sequence[str] | None = None
) -> tuple[list[Token], int | None]:
    """Up to ``limit`` tokens with numbers below ``before``, newest first; and ``before`` of the next page.

    whose names contain ``q`` and whose state is one of ``states``; None: any.
    """
    rows = await db.fetch_all(_PAGE_SQL, before, limit + 1, q, None if states is None else list(states))
    numbers = [row.pop("number") for row in rows]
    following = numbers[limit - 1] if len(rows) > limit else None
    return [_token(row) for row in rows[:limit]], following


async def count_tokens(
    db: AsyncDatabaseManager, limit: int, q: str = "", states: Sequence[str] | None = None
) -> tuple[int, bool]:
    """The number of tokens that match, up to ``limit``, and whether there are more."""
    (row,) = await db.fetch_all(_COUNT_SQL, limit, q, None if states is None else list(states))
    return row["number"], row["is_capped"]


async def find_token(db: AsyncDatabaseManager, wanted: str) -> Token:
    """The token with the id ``wanted``, even if it has expired or was revoked.

    Raises:
        ServiceError: token_unknown.
    """
    row = None if "\x00" in wanted else await db.fetch_one(statement("tokens", "show"), wanted)
    if row is None:
        raise ServiceError("token_unknown", f"There is no token {wanted!r}.")
    return _token(row)


async def revoke_token(
    db: AsyncDatabaseManager | TransactionManager, wanted: str, revoked_by: str, *, by_name: bool = False
) -> Token:
    """Revoke the token with the id, or with ``by_name`` the name, ``wanted``. A revoked token stays unchanged.

    Raises:
        ServiceError: token_unknown.
    """
    row = None if "\x00" in wanted else await db.fetch_one(statement("tokens", "revoke"), wanted, revoked_by, by_name)
    if row is None:
        raise ServiceError("token_unknown", f"There is no token {wanted!r}.")
    return _token(row)


def _token(row: RowDict) -> Token:
    expires_at = row["expires_at"]
    expired = expires_at is not None and expires_at <= datetime.now(UTC)
    state: TokenState = "revoked" if row["revoked_at"] is not None else "expired" if expired else "active"
    return Token(**row, state=state)
