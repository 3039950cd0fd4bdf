"""What the engine says of one attempt at one schema, written down a few times a second at most.

Listening to the engine has its price: files no longer travel together, and every statement is a message of its own. So
it is done where there are few files in few schemas; of many only the number is looked at, once a second.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import structlog

from pgdbm.errors import AsyncDBError
from pgdbm.sql import statement

from .structs import Progress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from uuid import UUID

    from pgdbm.migrations.events import Event

    from ..database import Database
    from .store import Store

FEW_FILES = 20
FEW_SCHEMAS = 5
_EVERY_S = 0.2
_LOOK_EVERY_S = 1.0
_SIGN_OF_LIFE_S = 2.0
_MOST_BLOCKERS = 20
_APPLIED = "SELECT count(*) FROM {{tables.schema_migrations}} WHERE module_name = $1 AND filename = ANY ($2::text[])"
_NEWS = frozenset({"migration_began", "migration_ended", "migration_failed", "retrying"})

logger = structlog.get_logger("pgdbm_service")


class Recorder:
    """``listens``: whether :meth:`hear` is called with what the engine does.

    ``backend_pid`` is that of the connection that migrates just now; ``cancelled`` says what the row said last.
    """

    def __init__(
        self,
        database: Database,
        store: Store,
        run: UUID,
        module: str,
        schema: str,
        attempt: int,
        pending: Sequence[str],
        *,
        listens: bool,
    ) -> None:
        self._database = database
        self._store = store
        self._run = run
        self._module = module
        self._schema = schema
        self._attempt = attempt
        self._pending = tuple(pending)
        self._progress = Progress(pending=len(pending))
        self._news: list[tuple[str, dict[str, Any]]] = []
        self._told = _told(self._progress)
        self._changed = False
        self.listens = listens
        self.backend_pid: int | None = None
        self.cancelled = False

    def on_backend(self, pid: int | None) -> None:
        self.backend_pid = pid
        self._changed = True

    def hear(self, event: Event) -> None:
        """One thing that the engine did."""
        progress = self._progress
        self._changed = True
        match event.kind:
            case "migration_began":
                progress.filename, progress.statement, progress.statements = event.filename, None, None
            case "statement_began":
                progress.filename, progress.statement = event.filename, event.statement
                progress.statements = event.statements
                self._forget_waits()
            case "statement_ended":
                self._forget_waits()
            case "migration_ended":
                progress.done += 1
                self._forget_waits()
            case "progress":
                progress.command, progress.phase = event.details["command"], event.details["phase"]
                progress.percent = event.details["percent"]
            case "blocked":
                self._blocked(event.details["blockers"])
            case "waiting_for_runner":
                self._waiting_for(event.details["holder"])
            case "retrying":
                progress.retrying = event.details
        if event.kind in _NEWS:
            fields = {"filename": event.filename, "statement": event.statement, "statements": event.statements}
            self._news.append((event.kind, {k: v for k, v in fields.items() if v is not None} | event.details))

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """For the length of the block, write down what is new."""
        over = asyncio.Event()
        writer = asyncio.create_task(self._write(over))
        looker = None if self.listens else asyncio.create_task(self._look())
        try:
            yield
        finally:
            if looker is not None:
                looker.cancel()
                await asyncio.gather(looker, return_exceptions=True)
            over.set()
            # Not cancelled: of a writing that is cut off nobody knows whether it was done, and events would be told
            # twice. And what came last is worth knowing too, above all of an attempt that failed.
            with contextlib.suppress(Exception):
                await self._database.within_limit(_end_of(writer))

    async def flush(self) -> None:
        """Write down what is new now."""
        await self._flush()

    async def _write(self, over: asyncio.Event) -> None:
        """Until it is ``over``, and once more then."""
        written = asyncio.get_running_loop().time()
        while not over.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_EVERY_S):
                    await over.wait()
            now = asyncio.get_running_loop().time()
            if not (over.is_set() or self._changed) and now - written < _SIGN_OF_LIFE_S:
                continue
            written = now
            try:
                await self._flush()
            except Exception as error:
                logger.debug("progress not written", run_id=str(self._run), error_type=type(error).__name__)

    async def _flush(self) -> None:
        news, self._news = self._news, []
        changed, self._changed = self._changed, False
        told = _told(self._progress)
        if changed and told != self._told:
            # What is true for every statement is told once per writing.
            self._told = told
            news.append(("progress", told))
        try:
            self.cancelled = await self._store.note(
                self._run, self._schema, self._attempt, news, self._progress, self.backend_pid, self._pending
            )
        except BaseException:
            self._news[:0] = news
            self._changed = True
            raise

    async def _look(self) -> None:
        """What can be seen from outside, of files that travel together."""
        db = self._database.manager(self._schema)
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            try:
                done = await db.fetch_value(_APPLIED, self._module, list(self._pending))
                if done != self._progress.done:
                    self._progress.done, self._changed = done, True
                if self.backend_pid is not None:
                    rows = await db.fetch_all(statement("watch", "blockers"), self.backend_pid)
                    self._blocked(rows)
            except AsyncDBError as error:
                logger.debug("progress not seen", run_id=str(self._run), error_type=type(error).__name__)

    def _blocked(self, blockers: Sequence[dict[str, Any]]) -> None:
        # Somebody's SQL is nobody else's business.
        tree = [{key: value for key, value in one.items() if key != "query"} for one in blockers[:_MOST_BLOCKERS]]
        before = [one["pid"] for one in self._progress.waiting_for or ()]
        self._progress.waiting_for = tree or None
        if [one["pid"] for one in tree] != before:
            self._changed = True
            if tree:
                self._news.append(("blocked", {"waiting_for": tree}))

    def _waiting_for(self, holder: dict[str, Any] | None) -> None:
        before = (self._progress.holder or {}).get("pid")
        self._progress.holder = holder and {key: value for key, value in holder.items() if key != "query"}
        if holder is not None and holder["pid"] != before:
            self._news.append(("waiting_for_runner", {"holder": self._progress.holder}))

    def _forget_waits(self) -> None:
        progress = self._progress
        progress.waiting_for = progress.holder = progress.retrying = None
        progress.command = progress.phase = progress.percent = None


async def _end_of(task: asyncio.Task[None]) -> None:
    await task


def _told(progress: Progress) -> dict[str, Any]:
    fields = ("filename", "done", "pending", "statement", "statements", "command", "phase", "percent")
    return {name: value for name in fields if (value := getattr(progress, name)) is not None}
