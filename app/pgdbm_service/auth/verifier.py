"""Verification of the service's own tokens."""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import UTC, datetime
from hmac import compare_digest
from typing import TYPE_CHECKING

import msgspec
import structlog

from pgdbm.core.lru import LRUCache

from ..database.service_schema import SERVICE_SCHEMA
from ..database.sql import statement
from ..web.request import Principal
from .active_ids import ActiveIds
from .tickets import principal_of_ticket
from .tokens import digest_of, id_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from litestar import Litestar

    from ..database.pool import Database

# Another replica accepts a token for at most this long after it was revoked here.
REVOKED_WITHIN_S = 3.0
_MAX_KNOWN = 1000

logger = structlog.get_logger("pgdbm_service")


class _Known(msgspec.Struct, frozen=True):
    principal: Principal
    digest: bytes
    expires_at: datetime | None
    read_at: float


class TokenVerifier:
    """Reads tokens from the database, and caches each for ``REVOKED_WITHIN_S``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: LRUCache[str, _Known] = LRUCache(_MAX_KNOWN)
        self.revocations = 0
        """How many tokens were revoked through this replica: a token that was read before the latest revocation may be
        out of date."""
        self._ids = ActiveIds(self._read_ids, REVOKED_WITHIN_S)
        self._writing: set[asyncio.Task[None]] = set()

    async def verify(self, token: str) -> Principal | None:
        """The principal of ``token``; None if it is unknown, expired or revoked.

        Raises:
            ServiceError: database_unavailable.
        """
        token_id = id_in(token)
        if token_id is None:
            return None
        known = self._known.get(token_id)
        is_stale = known is None or time.monotonic() - known.read_at > REVOKED_WITHIN_S
        if is_stale:
            known = await self._read(token_id)
        if known is None or not compare_digest(known.digest, digest_of(token)):
            return None
        if known.expires_at is not None and known.expires_at <= datetime.now(UTC):
            return None
        if is_stale:
            self._record_use(token_id)
        return known.principal

    async def verify_ticket(self, ticket: str) -> Principal | None:
        """The principal of ``ticket``; None if it is unknown or has expired.

        Raises:
            ServiceError: database_unavailable.
        """
        return await principal_of_ticket(self._database, ticket)

    async def has_id(self, token: str) -> bool:
        """Whether there is an active token with the id in ``token``. At most one query per ``REVOKED_WITHIN_S``.

        Raises:
            ServiceError: database_unavailable.
        """
        token_id = id_in(token)
        return token_id is not None and await self._ids.has(token_id)

    async def _read_ids(self) -> frozenset[str]:
        rows = self._database.manager(SERVICE_SCHEMA).fetch_all(statement("tokens", "active_ids"))
        return frozenset(row["id"] for row in await self._database.with_timeout(rows))

    def invalidate(self, token_id: str) -> None:
        """Drop the cached token, which has just been revoked."""
        self._known.pop(token_id)
        self.revocations += 1

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Litestar) -> AsyncIterator[None]:
        """At shutdown, wait for pending writes before the pool closes."""
        try:
            yield
        finally:
            await asyncio.gather(*self._writing)

    async def _read(self, token_id: str) -> _Known | None:
        read_at, revocations = time.monotonic(), self.revocations
        self._known.pop(token_id)
        row = await self._database.with_timeout(
            self._database.manager(SERVICE_SCHEMA).fetch_one(statement("tokens", "find"), token_id)
        )
        if row is None:
            return None
        principal = Principal(f"token:{row['name']}", tuple(row["scopes"]))
        known = _Known(principal, row["digest"], row["expires_at"], read_at)
        if revocations == self.revocations:
            # Otherwise the token may have been revoked after it was read.
            self._known.put(token_id, known)
        return known

    def _record_use(self, token_id: str) -> None:
        task = asyncio.create_task(self._write_use(token_id))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write_use(self, token_id: str) -> None:
        try:
            await self._database.with_timeout(
                self._database.manager(SERVICE_SCHEMA).execute(statement("tokens", "record_use"), token_id)
            )
        except Exception as error:
            # A read-only database must not refuse reads.
            logger.warning("last use of a token not written", error_type=type(error).__name__)
