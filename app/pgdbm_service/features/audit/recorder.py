"""Records every request that would change something, after the response is sent.

An entry waits in memory for the next write, normally for milliseconds. While the database is unavailable, up to
``_MAX_PENDING`` entries wait; further ones are logged. A shutdown writes the pending entries, but a killed process
loses them.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from pgdbm.core.pool import without_reset

from ...api.audit import AuditEntry
from ...database.audit import write_entries
from ...database.failures import service_error_of
from ...database.periodic import cancelled_at_end
from ...database.service_schema import SERVICE_SCHEMA
from ...web.request import ANONYMOUS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from litestar import Litestar
    from litestar.types import Scope

    from ...database.pool import Database


_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_MAX_PENDING = 10_000
_BATCH_SIZE = 500
_PAUSE_S = 1.0
_LAST_WRITE_S = 5.0
_TOO_MANY_REQUESTS = 429
_LONGEST_REASON = 1000

logger = structlog.get_logger("pgdbm_service.audit")


class AuditRecorder:
    """During ``lifespan`` a task writes the entries."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._pending: deque[tuple[uuid.UUID, AuditEntry]] = deque()
        self._has_pending = asyncio.Event()

    def record(self, scope: Scope, at: datetime) -> None:
        """Record the request ``scope``, which arrived at ``at`` and was answered, if it would change something."""
        # A sign-in at an identity provider ends with a GET.
        if scope.get("method") not in _READING or "is_change" in scope["state"]:
            http_status = scope["state"].get("http_status")
            # A request without a route cannot change anything. Requests over the rate limit must not fill the table.
            if "route_handler" in scope and http_status != _TOO_MANY_REQUESTS:
                # A handler that writes the entry itself sets the key here, so that it is not written again.
                self._add(scope["state"].get("audit_entry") or uuid.uuid4(), _entry(scope, at, http_status))

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Litestar) -> AsyncIterator[None]:
        try:
            async with cancelled_at_end(asyncio.create_task(self._write_forever(), name="write the audit")):
                yield
        finally:
            await self._write_remaining()

    def _add(self, key: uuid.UUID, entry: AuditEntry) -> None:
        if len(self._pending) >= _MAX_PENDING:
            _to_log(entry)
            return
        self._pending.append((key, entry))
        self._has_pending.set()

    async def _write_forever(self) -> None:
        while True:
            await self._has_pending.wait()
            try:
                await self._write_batch()
            except Exception as error:
                reason = service_error_of(error).detail
                logger.warning(
                    "audit not written yet", pending=len(self._pending), error_type=type(error).__name__, reason=reason
                )
                await asyncio.sleep(_PAUSE_S)

    async def _write_batch(self) -> None:
        """Write the oldest entries. Entries are removed only after the write: an interrupted write is repeated."""
        some = [self._pending[position] for position in range(min(_BATCH_SIZE, len(self._pending)))]
        if some:
            with without_reset():
                await self._database.with_timeout(write_entries(self._database.manager(SERVICE_SCHEMA), some))
        for _ in some:
            self._pending.popleft()
        if not self._pending:
            self._has_pending.clear()

    async def _write_remaining(self) -> None:
        try:
            async with asyncio.timeout(_LAST_WRITE_S):
                while self._pending:
                    await self._write_batch()
        except Exception as error:
            logger.warning("audit not written", error_type=type(error).__name__)
            for _, entry in self._pending:
                _to_log(entry)


def _entry(scope: Scope, at: datetime, http_status: int | None) -> AuditEntry:
    state: dict[str, Any] = scope["state"]
    path_params: dict[str, Any] = scope.get("path_params") or {}
    principal = scope.get("user")
    run_id = state.get("run_id") or path_params.get("run_id")
    return AuditEntry(
        at=at,
        principal=ANONYMOUS.name if principal is None else principal.name,
        address=state["address"],
        method=str(scope.get("method")),
        path=scope.get("path_template") or "",
        module=_storable(path_params.get("module") or state.get("modules")),
        run_id=None if run_id is None else _storable(str(run_id)),
        http_status=http_status,
        problem_code=state.get("problem_code"),
        request_id=state["request_id"],
        reason=_storable(state.get("reason"), _LONGEST_REASON),
    )


def _storable(text: str | None, longest: int = 200) -> str | None:
    """``text`` without NUL, which PostgreSQL's text cannot hold, and cut to ``longest`` characters."""
    return None if text is None else text.replace("\x00", "�")[:longest]


def _to_log(entry: AuditEntry) -> None:
    logger.warning("audit", **msgspec.to_builtins(entry))
