"""Sessions of people who signed in to the dashboard: the cookie's format and the table.

``ID_SECRET``, as in a token: the row is looked up by the id, and the SHA-256 of the whole cookie is compared. So a
session works on every replica, ends everywhere when its row is deleted, and cannot be forged with a copy of the
database.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import time
from datetime import UTC, datetime
from hmac import compare_digest
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from pgdbm.core.lru import LRUCache
from pgdbm.core.tasks import cancel_and_wait

from ..database.service_schema import SERVICE_SCHEMA
from ..database.sql import statement
from ..web.request import Principal
from .active_ids import ActiveIds
from .tokens import digest_of
from .verifier import REVOKED_WITHIN_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Coroutine, Iterator

    from litestar import Litestar

    from pgdbm.core.connection import RowDict

    from ..database.pool import Database
    from .verifier import TokenVerifier

_COOKIE = re.compile(r"([0-9a-f]{16})_[A-Za-z0-9_-]{43}\Z")
_MAX_KNOWN = 1000
# Only a program that signs in for every request has more sessions.
_MAX_PER_PRINCIPAL = 100
# How precisely the last use is recorded: a write per request would be wasteful.
_USE_EVERY_S = 60.0

logger = structlog.get_logger("pgdbm_service")


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A session. It ends at ``expires_at`` unless it is used before then."""

    id: str
    principal: Principal
    address: str
    started_at: datetime
    seen_at: datetime
    expires_at: datetime
    token_id: str | None = None
    issuer: str | None = None


class _Known(msgspec.Struct, frozen=True):
    session: Session
    digest: bytes
    read_at: float
    revocations: int


class Sessions:
    """Starts, finds and ends sessions, and caches each session it reads for ``REVOKED_WITHIN_S``.

    A session ends after ``idle_s`` seconds without use, and ``lifetime_s`` after it was started. Sessions of issuers
    that are not in ``issuers`` are refused.
    """

    def __init__(
        self,
        database: Database,
        verifier: TokenVerifier,
        *,
        idle_s: float,
        lifetime_s: float,
        issuers: Collection[str] = (),
    ) -> None:
        self._database = database
        self._verifier = verifier
        self._idle_s = idle_s
        self.lifetime_s = lifetime_s
        self._issuers = frozenset(issuers)
        self._use_every_s = min(_USE_EVERY_S, idle_s / 10)
        self._known: LRUCache[str, _Known] = LRUCache(_MAX_KNOWN)
        self._ended = 0
        self._ids = ActiveIds(self._active, REVOKED_WITHIN_S)
        self._writing: set[asyncio.Task[None]] = set()
        self._watched: dict[str, set[asyncio.Event]] = {}
        self._watching: asyncio.Task[None] | None = None

    async def start(
        self, principal: Principal, address: str, *, token_id: str | None = None, issuer: str | None = None
    ) -> str:
        """Start a session, and return its cookie. Deletes expired sessions, and the oldest ones of a principal with too
        many.

        Raises:
            ServiceError: database_unavailable.
        """
        session_id = secrets.token_hex(8)
        cookie = f"{session_id}_{secrets.token_urlsafe(32)}"
        db = self._database.manager(SERVICE_SCHEMA)
        pruning = db.execute(
            statement("dashboard_sessions", "prune"), self._idle_s, principal.name, _MAX_PER_PRINCIPAL - 1
        )
        await self._database.with_timeout(pruning)
        starting = db.execute(
            statement("dashboard_sessions", "start"),
            session_id,
            digest_of(cookie),
            principal.name,
            token_id,
            issuer,
            list(principal.scopes),
            address,
            self.lifetime_s,
        )
        await self._database.with_timeout(starting)
        return cookie

    async def find(self, cookie: str, *, is_use: bool) -> Session | None:
        """The session of ``cookie``; None if there is no such session, or it has ended.

        ``is_use``: the request was made by a person, not by the live update of a page.

        Raises:
            ServiceError: database_unavailable.
        """
        session_id = id_in(cookie)
        if session_id is None:
            return None
        known = self._known.get(session_id)
        if (
            known is None
            or time.monotonic() - known.read_at > REVOKED_WITHIN_S
            or known.revocations != self._verifier.revocations
        ):
            known = await self._read(session_id)
        if known is None or not compare_digest(known.digest, digest_of(cookie)):
            return None
        session, now = known.session, datetime.now(UTC)
        if session.expires_at <= now or (session.issuer is not None and session.issuer not in self._issuers):
            return None
        if is_use and (now - session.seen_at).total_seconds() > self._use_every_s:
            self._record_use(session_id)
        return session

    async def has_id(self, cookie: str) -> bool:
        """Whether a session with the id in ``cookie`` exists. At most one query per ``REVOKED_WITHIN_S``.

        Raises:
            ServiceError: database_unavailable.
        """
        session_id = id_in(cookie)
        return session_id is not None and await self._ids.has(session_id)

    async def of(self, principal: Principal) -> list[Session]:
        """The sessions of ``principal``, newest first."""
        db = self._database.manager(SERVICE_SCHEMA)
        query = db.fetch_all(statement("dashboard_sessions", "of_principal"), principal.name, self._idle_s)
        return [_session(row) for row in await self._database.with_timeout(query)]

    async def end(self, session_id: str) -> None:
        """Sign out: this replica refuses the session immediately, others within ``REVOKED_WITHIN_S``."""
        try:
            await self._execute("end", session_id)
        finally:
            # Even after a timeout: the row may have been deleted.
            self._discard(session_id)

    async def end_all(self, principal: Principal) -> int:
        """Sign ``principal`` out everywhere; returns the number of ended sessions."""
        db = self._database.manager(SERVICE_SCHEMA)
        rows = await self._database.with_timeout(
            db.fetch_all(statement("dashboard_sessions", "end_all"), principal.name)
        )
        for row in rows:
            self._discard(row["id"])
        return len(rows)

    @contextlib.contextmanager
    def watch(self, session_id: str, ended: asyncio.Event) -> Iterator[None]:
        """Set ``ended`` when the session ends: immediately here, within ``REVOKED_WITHIN_S`` on other replicas.

        One query serves all open streams.
        """
        events = self._watched.setdefault(session_id, set())
        events.add(ended)
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch(), name="watch sessions with open streams")
        try:
            yield
        finally:
            events.discard(ended)
            if not events and self._watched.get(session_id) is events:
                del self._watched[session_id]

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Litestar) -> AsyncIterator[None]:
        """At shutdown, wait for pending writes before the pool closes."""
        try:
            yield
        finally:
            if self._watching is not None:
                await cancel_and_wait(self._watching)
            await asyncio.gather(*self._writing)

    async def _watch(self) -> None:
        while self._watched:
            await asyncio.sleep(REVOKED_WITHIN_S)
            watched = list(self._watched)
            try:
                active = await self._active(watched)
            except Exception as error:
                # The streams themselves wait for the database.
                logger.warning("sessions not read", error_type=type(error).__name__)
                continue
            for session_id in watched:
                if session_id not in active:
                    self._discard(session_id)

    async def _active(self, ids: list[str] | None = None) -> frozenset[str]:
        db = self._database.manager(SERVICE_SCHEMA)
        query = db.fetch_all(statement("dashboard_sessions", "active_ids"), ids, self._idle_s)
        return frozenset(row["id"] for row in await self._database.with_timeout(query))

    async def _read(self, session_id: str) -> _Known | None:
        read_at, ended, revocations = time.monotonic(), self._ended, self._verifier.revocations
        self._known.pop(session_id)
        db = self._database.manager(SERVICE_SCHEMA)
        row = await self._database.with_timeout(
            db.fetch_one(statement("dashboard_sessions", "find"), session_id, self._idle_s)
        )
        if row is None:
            return None
        known = _Known(_session(row), row["digest"], read_at, revocations)
        if ended == self._ended:
            # Otherwise the session may have ended after it was read.
            self._known.put(session_id, known)
        return known

    def _discard(self, session_id: str) -> None:
        self._known.pop(session_id)
        self._ended += 1
        for event in self._watched.get(session_id, ()):
            event.set()

    def _record_use(self, session_id: str) -> None:
        # The next request reads the session again, with the new time.
        self._known.pop(session_id)
        writing = self._execute("record_use", session_id, self._idle_s, self._use_every_s)
        task = asyncio.create_task(self._logged(writing))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _execute(self, name: str, *values: object) -> None:
        db = self._database.manager(SERVICE_SCHEMA)
        await self._database.with_timeout(db.execute(statement("dashboard_sessions", name), *values))

    async def _logged(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            # A read-only database must not refuse reads.
            logger.warning("use of a session not written", error_type=type(error).__name__)


def id_in(cookie: str) -> str | None:
    """The id in the cookie of a session; None for any other text."""
    found = _COOKIE.match(cookie)
    return found[1] if found else None


def _session(row: RowDict) -> Session:
    fields = {
        name: row[name] for name in ("id", "address", "started_at", "seen_at", "expires_at", "token_id", "issuer")
    }
    return Session(principal=Principal(row["principal"], tuple(row["scopes"])), **fields)
