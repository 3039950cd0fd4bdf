"""Notes every request that would change something, behind the answer's back.

An entry waits in memory for the next write, at most a moment while the database answers. While it does not, entries
wait for it, up to a bound, and what is over that goes to the log. A normal end writes what is left; a killed process
loses what waited.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from .queries import write_entries
from .structs import AuditEntry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from litestar import Litestar
    from litestar.types import Receive, Scope, Send

    from ..database import Database

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_MOST = 10_000
_AT_ONCE = 500
_PAUSE_S = 1.0
_LAST_WRITE_S = 5.0
_TOO_MANY_REQUESTS = 429

logger = structlog.get_logger("pgdbm_service.audit")


class AuditRecorder:
    """Wraps the application, and writes what it notes in a task of its own, between ``lifespan``'s begin and end."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[tuple[uuid.UUID, AuditEntry]] = deque()
        self._something = asyncio.Event()

    async def record(
        self, app: Callable[[Scope, Receive, Send], Awaitable[None]], scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer one HTTP request, and note it if it would change something."""
        if scope.get("method") in _READING:
            await app(scope, receive, send)
            return
        at = datetime.now(UTC)
        try:
            await app(scope, receive, send)
        finally:
            # As logs.log_request sees it on its way out.
            status = scope["state"].get("status")
            # Where no route matched there was nothing to change; what the rate limit turns away must fill no table.
            if "route_handler" in scope and status != _TOO_MANY_REQUESTS:
                self._note(_entry(scope, at, status))

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Litestar) -> AsyncIterator[None]:
        task = asyncio.create_task(self._write_for_ever(), name="write the audit")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self._write_the_rest()

    def _note(self, entry: AuditEntry) -> None:
        if len(self._waiting) >= _MOST:
            _to_log(entry)
            return
        self._waiting.append((uuid.uuid4(), entry))
        self._something.set()

    async def _write_for_ever(self) -> None:
        while True:
            await self._something.wait()
            try:
                await self._write_some()
            except Exception as error:
                logger.warning("audit not written yet", waiting=len(self._waiting), error_type=type(error).__name__)
                await asyncio.sleep(_PAUSE_S)

    async def _write_some(self) -> None:
        """Write the oldest entries. They leave the memory when they are written: cut off, they are sent again."""
        some = [self._waiting[position] for position in range(min(_AT_ONCE, len(self._waiting)))]
        if some:
            await self._database.within_limit(write_entries(self._database, some))
        for _ in some:
            self._waiting.popleft()
        if not self._waiting:
            self._something.clear()

    async def _write_the_rest(self) -> None:
        try:
            async with asyncio.timeout(_LAST_WRITE_S):
                while self._waiting:
                    await self._write_some()
        except Exception as error:
            logger.warning("audit not written", error_type=type(error).__name__)
            for _, entry in self._waiting:
                _to_log(entry)


def _entry(scope: Scope, at: datetime, status: int | None) -> AuditEntry:
    # A state that is set by handlers: see auth.callers and errors for user and problem.
    state: dict[str, Any] = scope["state"]
    path_params: dict[str, Any] = scope.get("path_params") or {}
    caller = scope.get("user")
    run_id = state.get("run_id") or path_params.get("run_id")
    return AuditEntry(
        at=at,
        caller="anonymous" if caller is None else caller.name,
        address=state["address"],
        method=str(scope.get("method")),
        path=scope.get("path_template") or "",
        module=_storable(path_params.get("module")),
        run_id=None if run_id is None else _storable(str(run_id)),
        status=status,
        problem=state.get("problem"),
        request_id=state["request_id"],
    )


def _storable(text: str | None) -> str | None:
    """PostgreSQL's text holds no NUL, and a name from a path may be of any length."""
    return None if text is None else text.replace("\x00", "�")[:200]


def _to_log(entry: AuditEntry) -> None:
    logger.warning("audit", **msgspec.to_builtins(entry))
