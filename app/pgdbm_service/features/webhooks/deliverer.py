"""Sends due deliveries to the webhooks, and retries them until they are accepted."""

from __future__ import annotations

import asyncio
import contextlib
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from pgdbm.core.backoff import exponential

from ...database.service_schema import SERVICE_SCHEMA
from ...database.sql import statement
from .formats import body_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from uuid import UUID

    from pgdbm.core.connection import RowDict

    from ...database.pool import Database
    from .sending import Outcome, Sender

CHANNEL = "pgdbm_service_webhooks"
"""Notified when there is something to send."""

_MOST_TAKEN = 20
# Longer than an attempt can take, so that two replicas do not send the same delivery concurrently.
_LEASE_S = 60.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 2.0, 3600.0
# Without a notification, and with nothing due.
_LONGEST_SLEEP_S = 600.0
_SLEEP_UNNOTIFIED_S = 5.0
_SHORTEST_SLEEP_S = 0.05
_GONE = 410

logger = structlog.get_logger("pgdbm_service")


class Deliverer:
    """``public_origin`` is the start of links to runs and modules; without it there are no links.

    ``is_waiting``: whether a run is still waiting for a lock. A webhook whose deliveries have failed for
    ``disable_after_s`` is disabled. ``on_attempt`` is called with ``delivered``, ``failed`` or ``dropped`` for each
    attempt.
    """

    def __init__(
        self,
        database: Database,
        *,
        allow_private: bool,
        disable_after_s: float,
        keep_days: float,
        public_origin: str | None,
        is_waiting: Callable[[UUID], Awaitable[bool]],
        is_notified: Callable[[], bool],
        on_attempt: Callable[[str], None],
    ) -> None:
        self._database = database
        self._allow_private = allow_private
        self._disable_after_s = disable_after_s
        self._keep_days = keep_days
        self._origin = public_origin
        self._is_waiting = is_waiting
        self._is_notified = is_notified
        self._on_attempt = on_attempt
        self._due_in: float | None = None
        self._sender: Sender | None = None

    def pause_s(self) -> float:
        """Seconds until the next delivery is due, as far as this replica knows."""
        longest = _LONGEST_SLEEP_S if self._is_notified() else _SLEEP_UNNOTIFIED_S
        return longest if self._due_in is None else min(max(self._due_in, _SHORTEST_SLEEP_S), longest)

    async def deliver(self) -> None:
        """Send what is due until nothing is left."""
        while True:
            taken = await self._rows("take", _MOST_TAKEN, _LEASE_S)
            if not taken:
                break
            async with asyncio.TaskGroup() as group:
                for one in taken:
                    group.create_task(self._deliver(one))
        (row,) = await self._rows("due_in")
        self._due_in = row["due_in"]

    async def prune(self) -> None:
        """Delete old deliveries."""
        await self._rows("prune", self._keep_days)

    @contextlib.asynccontextmanager
    async def lifespan(self, _: object) -> AsyncIterator[None]:
        """At shutdown, close the connections to receivers."""
        try:
            yield
        finally:
            if self._sender is not None:
                await self._sender.close()

    async def _deliver(self, row: RowDict) -> None:
        if row["event"] == "run.blocked" and not await self._is_waiting(row["run"]):
            await self._rows("dropped", row["id"], "the run was no longer blocked when it was due")
            self._on_attempt("dropped")
            return
        outcome = await self._send(row)
        if outcome.reason is None:
            await self._rows("delivered", row["id"], outcome.http_status)
            self._on_attempt("delivered")
            return
        self._on_attempt("failed")
        pause = next(islice(exponential(_FIRST_PAUSE_S, _LONGEST_PAUSE_S), min(row["attempts"], 20) - 1, None))
        # The receiver reports that it no longer exists.
        disable_after_s = -1.0 if outcome.http_status == _GONE else self._disable_after_s
        found = await self._rows("failed", row["id"], outcome.http_status, outcome.reason, pause, disable_after_s)
        is_disabled = bool(found) and not found[0]["is_enabled"]
        if is_disabled or row["attempts"] == 1:
            logger.warning(
                "webhook disabled" if is_disabled else "webhook failed",
                webhook=str(row["webhook"]),
                delivery=str(row["id"]),
                reason=outcome.reason,
            )

    async def _send(self, row: RowDict) -> Outcome:
        if self._sender is None:
            # This imports an HTTP client, which a service without webhooks does not need.
            from .sending import Sender

            self._sender = Sender(allow_private=self._allow_private)
        page = f"modules/{row['module']}" if row["run"] is None else f"runs/{row['run']}"
        link = None if self._origin is None else f"{self._origin}/ui/{page}"
        data = msgspec.json.decode(row["data"])
        body = body_of(row["format"], row["event"], row["module"], row["run"], data, row["at"], link)
        secrets = tuple(one for one in (row["secret"], row["previous_secret"]) if one is not None)
        return await self._sender.send(row["url"], secrets, str(row["id"]), body)

    async def _rows(self, name: str, *values: Any) -> list[RowDict]:
        db = self._database.manager(SERVICE_SCHEMA)
        return await self._database.with_timeout(db.fetch_all(statement("webhooks", name), *values))
