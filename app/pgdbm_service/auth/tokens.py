"""The service's own tokens: how they look, and the table that they stand in.

``pgdbm_ID_SECRET``: the id is looked up, the SHA-256 of the whole is compared. The secret is 256 random bits, so there
is nothing to guess, and nothing to gain from a slow hash.
"""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import asyncpg

from pgdbm.errors import QueryError

from ..errors import Problem
from ..scopes import check_scopes
from ..structs import NewToken, Token, TokenState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgdbm.core.manager import AsyncDatabaseManager

NEVER = "never"

_TOKEN = re.compile(r"pgdbm_([0-9a-f]{12})_[A-Za-z0-9_-]{43}\Z")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@/-]{0,99}\Z")
_EXPIRY = re.compile(r"([1-9][0-9]{0,3})([mhdw])\Z")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

_COLUMNS = "id, name, scopes, created_at, created_by, expires_at, last_used_at, revoked_at, revoked_by"

_CREATE = """
INSERT INTO {{tables.tokens}} (id, name, digest, scopes, created_by, expires_at)
VALUES ($1, $2, $3, $4, $5, $6)
RETURNING created_at
"""

_LIST = f"""
SELECT number, {_COLUMNS} FROM {{{{tables.tokens}}}}
WHERE number < COALESCE($1, 9223372036854775807) ORDER BY number DESC LIMIT $2
"""  # noqa: S608 - a constant

# Of several revoked tokens of one name, none is meant.
_REVOKE = f"""
UPDATE {{{{tables.tokens}}}}
SET revoked_at = COALESCE(revoked_at, now()), revoked_by = COALESCE(revoked_by, $2)
WHERE id = $1 OR ($3 AND name = $1 AND revoked_at IS NULL)
RETURNING {_COLUMNS}
"""  # noqa: S608 - a constant


class TokenError(ValueError):
    """A token cannot be made as wished: ``field`` is wrong."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


def id_in(text: str) -> str | None:
    """The id of a token that looks like one of ours."""
    found = _TOKEN.match(text)
    return found[1] if found else None


def digest_of(token: str) -> bytes:
    """What is kept of a token."""
    return sha256(token.encode()).digest()


def expiry(text: str, now: datetime) -> datetime | None:
    """``90d``, ``12h``, ``30m``, ``4w`` from ``now``; None for ``never``.

    Raises:
        TokenError: it is none of these.
    """
    if text == NEVER:
        return None
    found = _EXPIRY.match(text)
    if found is None:
        raise TokenError("expires", f"{text[:120]!r} is no time: write 30m, 12h, 90d, 4w or {NEVER}")
    return now + timedelta(**{_UNITS[found[2]]: int(found[1])})


async def create_token(
    db: AsyncDatabaseManager, name: str, scopes: Sequence[str], expires: str, created_by: str
) -> NewToken:
    """Make a token in the service's schema, which ``db`` is for.

    Raises:
        TokenError: the name, a scope or the expiry is not right.
        Problem: token_exists.
    """
    if not _NAME.match(name):
        raise TokenError("name", f"{name[:120]!r} is no name: use up to 100 letters, digits and _ . @ / -")
    try:
        checked = list(check_scopes(scopes))
    except ValueError as error:
        raise TokenError("scopes", str(error)) from None
    expires_at = expiry(expires, datetime.now(UTC))
    number = secrets.token_hex(6)
    token = f"pgdbm_{number}_{secrets.token_urlsafe(32)}"
    try:
        created_at = await db.fetch_value(_CREATE, number, name, digest_of(token), checked, created_by, expires_at)
    except QueryError as error:
        if isinstance(error.original_error, asyncpg.UniqueViolationError):
            raise Problem("token_exists", f"There is a token {name!r}, and it is not revoked.") from None
        raise
    return NewToken(
        id=number,
        name=name,
        scopes=checked,
        state="active",
        created_at=created_at,
        created_by=created_by,
        expires_at=expires_at,
        token=token,
    )


async def list_tokens(db: AsyncDatabaseManager, limit: int, before: int | None) -> tuple[list[Token], int | None]:
    """Up to ``limit`` tokens, newest first, behind the one with the number ``before``; and where to go on."""
    rows = await db.fetch_all(_LIST, before, limit + 1)
    numbers = [row.pop("number") for row in rows]
    following = numbers[limit - 1] if len(rows) > limit else None
    return [_token(row) for row in rows[:limit]], following


async def revoke_token(db: AsyncDatabaseManager, wanted: str, revoked_by: str, *, by_name: bool = False) -> Token:
    """Revoke the token with the id ``wanted``, or with that name; one that is revoked already stays as it is.

    Raises:
        Problem: token_unknown.
    """
    row = None if "\x00" in wanted else await db.fetch_one(_REVOKE, wanted, revoked_by, by_name)
    if row is None:
        raise Problem("token_unknown", f"There is no token {wanted!r}.")
    return _token(row)


def _token(row: dict[str, Any]) -> Token:
    expires_at = row["expires_at"]
    expired = expires_at is not None and expires_at <= datetime.now(UTC)
    state: TokenState = "revoked" if row["revoked_at"] is not None else "expired" if expired else "active"
    return Token(**row, state=state)
