"""Whether a token of ours is good now."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from datetime import UTC, datetime
from hmac import compare_digest
from typing import TYPE_CHECKING

import msgspec
import structlog

from ..own_schema import OWN_SCHEMA
from .callers import Caller
from .tokens import digest_of, id_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from litestar import Litestar

    from ..database import Database

# How long another instance may still take a token after it was revoked here; this one stops at once.
REVOKED_WITHIN_S = 3.0
_MOST = 1000

_FIND = "SELECT name, digest, scopes, expires_at FROM {{tables.tokens}} WHERE id = $1 AND revoked_at IS NULL"
_USED = """
UPDATE {{tables.tokens}} SET last_used_at = now()
WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')
"""

logger = structlog.get_logger("pgdbm_service")


class _Known(msgspec.Struct, frozen=True):
    caller: Caller
    digest: bytes
    expires_at: datetime | None
    read_at: float


class TokenVerifier:
    """Looks tokens up, and keeps what it found for ``REVOKED_WITHIN_S``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._revocations = 0
        self._writing: set[asyncio.Task[None]] = set()

    async def caller(self, token: str) -> Caller | None:
        """Whose ``token`` it is; None for one that is unknown, expired or revoked.

        Raises:
            Problem: database_unavailable.
        """
        number = id_in(token)
        if number is None:
            return None
        known = self._known.get(number)
        fresh = known is None or time.monotonic() - known.read_at > REVOKED_WITHIN_S
        if fresh:
            known = await self._read(number)
        if known is None or not compare_digest(known.digest, digest_of(token)):
            return None
        if known.expires_at is not None and known.expires_at <= datetime.now(UTC):
            return None
        if fresh:
            self._note_use(number)
        return known.caller

    def forget(self, number: str) -> None:
        """Look the token up anew, since it has just been revoked."""
        self._known.pop(number, None)
        self._revocations += 1

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Litestar) -> AsyncIterator[None]:
        """Finish what is being written before the database goes."""
        try:
            yield
        finally:
            await asyncio.gather(*self._writing)

    async def _read(self, number: str) -> _Known | None:
        read_at, revocations = time.monotonic(), self._revocations
        self._known.pop(number, None)
        row = await self._database.within_limit(self._database.manager(OWN_SCHEMA).fetch_one(_FIND, number))
        if row is None:
            return None
        caller = Caller(f"token:{row['name']}", tuple(row["scopes"]))
        known = _Known(caller, row["digest"], row["expires_at"], read_at)
        if revocations == self._revocations:
            # Otherwise it may have been revoked after we looked.
            self._known[number] = known
            if len(self._known) > _MOST:
                self._known.popitem(last=False)
        return known

    def _note_use(self, number: str) -> None:
        task = asyncio.create_task(self._write_use(number))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write_use(self, number: str) -> None:
        try:
            await self._database.within_limit(self._database.manager(OWN_SCHEMA).execute(_USED, number))
        except Exception as error:
            # A database that cannot write now must not keep anybody from reading.
            logger.warning("use of a token not noted", error_type=type(error).__name__)
