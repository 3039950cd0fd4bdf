"""Writes the progress of an attempt at a schema, at most a few times per second.

A listener is expensive: with one, the engine sends each statement as a message of its own. Only a run with few files in
few schemas has a listener; for others the applied files are counted once per second.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import structlog

from pgdbm.core.tasks import cancel_and_wait
from pgdbm.errors import AsyncDBError
from pgdbm.sql import statement

from ..api.runs import Progress
from ..database.audit import policy_entry, write_entries
from ..database.masking import masked
from ..database.service_schema import SERVICE_SCHEMA
from ..status.history_tables import count_applied

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from uuid import UUID

    from pgdbm.core.manager import AsyncDatabaseManager
    from pgdbm.migrations.engine.blockers import EndedBlocker
    from pgdbm.migrations.engine.events import Event
    from pgdbm.migrations.results import Notice

    from ..api.audit import AuditEntry
    from ..database.pool import Database
    from .store import Store
    from .stored_runs import RunEvent, StartedSchema, TakenRun

_FEW_FILES = 20
_FEW_SCHEMAS = 5
_WRITE_EVERY_S = 0.2
_COUNT_EVERY_S = 1.0
# An unchanged row is written again, because the answer says whether the run should be cancelled.
_CHECK_EVERY_S = 2.0
_MOST_BLOCKERS = 20
_DONE = 100.0
_RECORDED = frozenset({"migration_started", "migration_ended", "migration_failed", "retrying", "backfill_waiting"})
# A backfill may take hours.
_BACKFILL_EVERY_S = 1.0
_BACKFILL_EVENT_EVERY_S = 5.0
_REPORTED = (
    "filename",
    "applied_count",
    "pending_count",
    "statement",
    "statements",
    "command",
    "phase",
    "percent",
    *("rows", "total_rows", "rows_per_s", "seconds_left"),
)

logger = structlog.get_logger("pgdbm_service")


class Recorder:
    """``listens``: whether :meth:`on_event` has to be called with the engine's events. ``db`` connects as the migrating
    user. ``backend_pid`` is the PID of the migrating connection; ``cancelled`` is the last value in the run's row.
    """

    def __init__(
        self,
        database: Database,
        db: AsyncDatabaseManager,
        store: Store,
        run: TakenRun,
        started: StartedSchema,
        pending: int,
    ) -> None:
        self._database = database
        self.db = db
        self._store = store
        self._run = run
        self._started = started
        self._progress = Progress(pending_count=pending)
        self._events: list[RunEvent] = []
        self._audited: list[tuple[UUID, AuditEntry]] = []
        self._reported = _report_of(self._progress)
        self._changed = False
        self._backend_changed = False
        self._failed_at: tuple[str | None, int] | None = None
        self._pausing = False
        self._leaves_last = False
        self._blocked_by: list[int] = []
        self._backfill_at = self._backfill_event_at = -_BACKFILL_EVENT_EVERY_S
        # A backfill has few statements.
        self.listens = pending <= _FEW_FILES and (run.schema_count <= _FEW_SCHEMAS or run.options.background)
        self.backend_pid: int | None = None
        self.cancelled = False

    def on_backend(self, pid: int | None) -> None:
        self.backend_pid = pid
        self._backend_changed = True

    def write_soon(self) -> None:
        """Write, and read whether the run should be cancelled, even if nothing has changed."""
        self._changed = True

    def on_event(self, event: Event) -> None:
        progress = self._progress
        if event.kind == "progress" and "rows" in event.details:
            self._set_rows(event.details)
            return
        self._changed = True
        match event.kind:
            case "migration_started":
                progress.filename, progress.statement, progress.statements = event.filename, None, None
            case "statement_started":
                progress.filename, progress.statement = event.filename, event.statement
                progress.statements = event.statements
                self._pausing = False
                if not self._is_repeated(event):
                    self._clear_waits()
            case "statement_ended":
                if not self._is_repeated(event):
                    self._clear_waits()
            case "migration_ended":
                progress.applied_count += 1
                self._clear_waits()
            case "progress":
                progress.command, progress.phase = event.details["command"], event.details["phase"]
                progress.percent = event.details["percent"]
            case "blocked":
                # During the pause before the next attempt nothing is blocked, but the reason does not change.
                if event.details["blockers"] or not self._pausing:
                    self._set_blockers(event.details["blockers"])
            case "backfill_waiting":
                progress.reason = event.details["message"]
            case "waiting_for_runner":
                self._set_holder(event.details["holder"])
            case "retrying":
                progress.retrying = event.details
                self._failed_at, self._pausing, self._blocked_by = (event.filename, event.statement or 0), True, []
        if event.kind in _RECORDED:
            fields = {"filename": event.filename, "statement": event.statement, "statements": event.statements}
            self._events.append((event.kind, {k: v for k, v in fields.items() if v is not None} | event.details))

    def on_notice(self, notice: Notice, **fields: str) -> None:
        self._changed = True
        self._events.append(("notice", notice._asdict() | fields))

    def on_blocker_ended(self, ended: EndedBlocker) -> None:
        """The policy of the module ended a session: write an event of the run, and an entry in the audit."""
        self._changed = True
        left_out = ("filename", "action", "query")
        blocker = {name: value for name, value in ended._asdict().items() if name not in left_out}
        self._events.append(("blocker_ended", {"filename": ended.filename, "action": ended.action, "blocker": blocker}))
        entry = policy_entry(self._run.module, str(self._run.id), f"{ended.filename}: {ended.message}")
        self._audited.append(entry)

    @contextlib.asynccontextmanager
    async def writing(self, *, leaves_last: bool) -> AsyncIterator[None]:
        """During the block, write what has changed. ``leaves_last``: if the block succeeds, its last events are not
        written, and the caller has to :meth:`take_events`."""
        over = asyncio.Event()
        writer = asyncio.create_task(self._write(over))
        counter = None if self.listens else asyncio.create_task(self._count())
        try:
            yield
            self._leaves_last = leaves_last
        finally:
            if counter is not None:
                await cancel_and_wait(counter)
            over.set()
            try:
                # Not cancelled: it would be unknown whether an interrupted write was committed, and events would be
                # written twice. The last events matter most, especially those of a failed attempt.
                await self._database.with_timeout(_end_of(writer))
            except Exception as error:
                logger.warning("last progress not written", run_id=str(self._run.id), error_type=type(error).__name__)

    def take_events(self) -> list[RunEvent]:
        """The events that have not been written. The caller writes them."""
        events, self._events = self._events, []
        report = _report_of(self._progress)
        if self._changed and report != self._reported and self._is_due():
            # One event for all statements since the last write.
            self._reported = report
            events.append(("progress", report))
        self._changed = self._backend_changed = False
        return events

    async def flush(self) -> None:
        """Write what has changed now."""
        events = self.take_events()
        try:
            await self._write_audit()
            self.cancelled = await self._store.record_progress(
                self._run.id, self._started, events, self._progress, self.backend_pid
            )
        except BaseException:
            self._events[:0] = events
            self._changed = True
            raise

    async def _write_audit(self) -> None:
        if self._audited:
            # Entries that were written before are skipped.
            await write_entries(self._database.manager(SERVICE_SCHEMA), self._audited)
            self._audited = []

    async def _write(self, over: asyncio.Event) -> None:
        """Write until ``over`` is set, and then once more, unless only the backend has changed since.

        How the attempt ended is written next, which removes the backend from the row.
        """
        loop = asyncio.get_running_loop()
        written = loop.time()
        failing = False
        is_last = False
        while not is_last:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_WRITE_EVERY_S):
                    await over.wait()
            # It may have been set during the last write, together with events that came too late for that write.
            is_last = over.is_set()
            if is_last:
                if not self._changed or (self._leaves_last and not self._audited):
                    return
            elif not (self._changed or self._backend_changed) and loop.time() - written < _CHECK_EVERY_S:
                continue
            written = loop.time()
            try:
                await self.flush()
                failing = False
            except Exception as error:
                if not failing:
                    logger.warning("progress not written", run_id=str(self._run.id), exc_info=error)
                failing = True

    async def _count(self) -> None:
        """Read what is visible without a listener: the number of applied files, and the blockers."""
        db = self.db
        failing = False
        while True:
            await asyncio.sleep(_COUNT_EVERY_S)
            try:
                count = await count_applied(db, self._started.schema, self._run.module, self._started.pending or ())
                if count != self._progress.applied_count:
                    self._progress.applied_count, self._changed = count, True
                if self.backend_pid is not None:
                    await self._read_blockers(db, self.backend_pid)
                failing = False
            except AsyncDBError as error:
                if not failing:
                    logger.warning("progress not read", run_id=str(self._run.id), reason=error.message)
                failing = True

    async def _read_blockers(self, db: AsyncDatabaseManager, pid: int) -> None:
        blockers = await db.fetch_all(statement("watch", "blockers"), pid)
        # Between two attempts the backend is idle, but the schema is still blocked.
        if blockers or not self._progress.waiting_for or not await db.fetch_value(statement("watch", "is_idle"), pid):
            self._set_blockers(blockers)

    def _set_blockers(self, blockers: Sequence[dict[str, Any]]) -> None:
        # Queries may contain values that the reader of a run must not see.
        tree: list[dict[str, Any]] = [dict(one, query=masked(one.get("query"))) for one in blockers[:_MOST_BLOCKERS]]
        if not tree:
            self._progress.retrying = None
        self._changed = self._changed or tree != (self._progress.waiting_for or [])
        self._progress.waiting_for = tree or None
        before, self._blocked_by = self._blocked_by, [one["pid"] for one in tree]
        if tree and self._blocked_by != before:
            self._events.append(("blocked", {"waiting_for": tree}))

    def _set_rows(self, details: dict[str, Any]) -> None:
        """The progress of a backfill, at most once per second, and its end."""
        now = time.monotonic()
        if now - self._backfill_at < _BACKFILL_EVERY_S and details["percent"] != _DONE:
            return
        self._backfill_at, self._changed = now, True
        for name in ("command", "phase", "percent", "rows", "total_rows", "rows_per_s", "seconds_left"):
            setattr(self._progress, name, details[name])
        if details["percent"] == _DONE:
            # The end of the file follows and clears it.
            self._reported = _report_of(self._progress)
            self._events.append(("progress", self._reported))

    def _is_due(self) -> bool:
        """Whether the progress becomes an event: for a backfill, every few seconds."""
        if self._progress.rows is None:
            return True
        now = time.monotonic()
        if now - self._backfill_event_at < _BACKFILL_EVENT_EVERY_S:
            return False
        self._backfill_event_at = now
        return True

    def _set_holder(self, holder: dict[str, Any] | None) -> None:
        before = (self._progress.holder or {}).get("pid")
        self._progress.holder = holder and {key: value for key, value in holder.items() if key != "query"}
        if holder is not None and holder["pid"] != before:
            self._events.append(("waiting_for_runner", {"holder": self._progress.holder}))

    def _is_repeated(self, event: Event) -> bool:
        """Whether the last attempt got as far as the statement of ``event``.

        What it waited for is shown until the statement is done: a new attempt usually waits for the same thing.
        """
        if self._failed_at is None or event.statement is None:
            return False
        filename, number = self._failed_at
        last = number if event.kind == "statement_started" else number - 1
        return event.filename == filename and event.statement <= last

    def _clear_waits(self) -> None:
        progress = self._progress
        self._failed_at, self._blocked_by = None, []
        progress.waiting_for = progress.holder = progress.retrying = None
        progress.command = progress.phase = progress.percent = None
        progress.rows = progress.total_rows = progress.rows_per_s = progress.seconds_left = progress.reason = None


async def _end_of(task: asyncio.Task[None]) -> None:
    await task


def _report_of(progress: Progress) -> dict[str, Any]:
    return {name: value for name in _REPORTED if (value := getattr(progress, name)) is not None}
