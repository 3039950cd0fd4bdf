"""Writes the rows of runs and replicas. Each method is one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg
import msgspec

from pgdbm.core.connection import in_transaction
from pgdbm.core.pool import without_reset
from pgdbm.core.queries import as_dicts

from ..api.common import Approvals
from ..api.freezes import Freeze
from ..api.runs import Progress, RunOptions, StartHold
from ..database.retrying import repeat_on_conflict, until_available
from ..database.rows import reading_rows
from ..database.service_schema import SERVICE_SCHEMA
from ..database.sql import statement
from .grouped_writes import GroupedWrites
from .queue import Item, enqueue
from .stored_runs import (
    FollowUp,
    KeyTakenError,
    NewRun,
    StartedSchema,
    StoredKey,
    StoredOptions,
    TakenRun,
    UnfinishedSchema,
)

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from uuid import UUID

    from pgdbm.core.connection import Connection, RowDict
    from pgdbm.core.manager import AsyncDatabaseManager

    from ..database.pool import Database
    from .grouped_writes import Write
    from .plan_checks import Step
    from .stored_runs import RunEvent

T = TypeVar("T")

CANARIES = 0
"""The chunk of the schemas that are migrated before the others."""

ALONE, _AMONG_MANY = 10, 0
_MOST_IN_CHUNK = 50
_FEWEST_CHUNKS = 40


class Store:
    """A transaction that PostgreSQL rolls back because of concurrent ones is repeated. With ``stopping``, methods wait
    for an unavailable database until that event is set; without it they raise.
    """

    def __init__(self, database: Database, stale_s: float, stopping: asyncio.Event | None = None) -> None:
        self._database = database
        self._stale_s = stale_s
        self._stopping = stopping
        self._groups: dict[UUID, GroupedWrites] = {}

    async def create(self, new: NewRun) -> UUID:
        """Insert a run and return its id, or return the id of the active run with the same digest. It is queued unless
        it needs approvals.

        The key of the request then belongs to that run.

        Raises:
            KeyTakenError: the key belongs to another run, which a concurrent request has created.
        """
        request, origin = new.request, new.request.origin

        async def insert_or_join(connection: Connection) -> UUID:
            if await self._insert(connection, new):
                return new.id
            active: UUID | None = await connection.fetchval(self._sql("active"), request.module, new.digest)
            if active is None:
                # The active run ended between the two statements.
                return await insert_or_join(connection)
            if origin.key is not None:
                await connection.execute(self._sql("store_key"), origin.principal, origin.key, request.digest, active)
            return active

        try:
            return await self._transaction(insert_or_join)
        except asyncpg.UniqueViolationError:
            raise KeyTakenError from None

    async def _insert(self, connection: Connection, new: NewRun) -> bool:
        """Insert a run, and put it into the queue unless it needs approvals; False if one with its digest is active."""
        request, origin = new.request, new.request.origin
        canary = request.options.canary if len(new.schemas) > 1 else 0
        chunks = chunked(len(new.schemas), canary)
        bound = new.bound
        created: UUID | None = await connection.fetchval(
            self._sql("create"),
            new.id,
            request.module,
            as_json(StoredOptions(**msgspec.structs.asdict(request.options))),
            new.digest,
            new.bundle,
            origin.principal,
            origin.request_id,
            request.retry_of,
            list(new.schemas),
            [str(chunk) for chunk in chunks],
            origin.key,
            request.digest,
            origin.traceparent,
            None if bound is None else bound.digest,
            None if bound is None else as_json(bound.approvals),
            None if bound is None else list(bound.plans),
            0 if bound is None else bound.needed,
        )
        if created is None:
            return False
        if bound is not None and bound.needed:
            return True
        first = [CANARIES] if canary else sorted(set(chunks))
        await enqueue(connection, [Item(new.id, chunk) for chunk in first], priority=_priority(len(first)))
        return True

    async def find_key(self, principal: str, key: str) -> StoredKey | None:
        rows = await self._rows("find_key", principal, key)
        with reading_rows():
            return StoredKey(**rows[0]) if rows else None

    async def delete_key(self, principal: str, key: str, run: UUID) -> None:
        """Delete the key if it belongs to ``run``."""
        await self._rows("delete_key", principal, key, run)

    async def take(self, item: Item) -> tuple[TakenRun, list[UnfinishedSchema]] | None:
        """The run of an item, and the schemas of its chunk that are not done, in order; None if the run has ended.

        In a cancelled run, the schemas that no live replica is working on are cancelled.
        """
        taken = await self._take(item)
        if taken is not None and taken[0].cancelled:
            await self._rows("cancel_chunk", item.run, item.chunk, self._stale_s)
            return await self._take(item)
        return taken

    async def hold(self, run: UUID, hold: StartHold) -> bool:
        """Keep a run from starting; False if it is already held for that reason."""
        return bool(await self._rows("hold", run, as_json(hold)))

    async def release(self, run: UUID) -> None:
        """The run is no longer held."""
        await self._rows("release", run)

    async def is_unstarted(self, run: UUID) -> bool:
        """Whether a run is waiting to start and should not be cancelled."""
        return bool(await self._value("is_unstarted", run))

    async def start_schema(
        self, run: UUID, schema: str, replica: UUID, pending: list[str] | None = None
    ) -> StartedSchema | None:
        """Begin an attempt; None if the schema has ended, or the run has ended, should be cancelled or may not
        start. ``pending``: the files that are pending, if that is known; recorded in the first attempt."""
        progress = None if pending is None else as_json(Progress(pending_count=len(pending)))
        rows = await self._grouped(run, "start_schema", schema, replica, pending, progress)
        if not rows:
            return None
        row = rows[0]
        return StartedSchema(schema, row["attempts"], row["pending"], row["deaths"], row["filename"], row["plan"])

    async def record_progress(
        self,
        run: UUID,
        started: StartedSchema,
        events: Sequence[RunEvent],
        progress: Progress,
        backend_pid: int | None,
    ) -> bool:
        """Write the progress of an attempt; returns whether the run should be cancelled."""
        rows = await self._grouped(
            run,
            "record_progress",
            started.schema,
            started.attempt,
            *_in_columns(events),
            as_json(progress),
            backend_pid,
            started.pending,
        )
        return bool(rows) and bool(rows[0]["cancelled"])

    async def complete_schema(
        self,
        run: UUID,
        schema: str,
        steps: Sequence[Step],
        skipped: int,
        total: int,
        total_time_ms: float,
        events: Sequence[RunEvent],
    ) -> None:
        """A schema is migrated; ``events`` are the last ones before that. Also valid from an attempt that was taken
        over."""
        names, times = [step.filename for step in steps], [str(step.execution_time_ms) for step in steps]
        await self._grouped(
            run, "complete_schema", schema, names, times, skipped, total, total_time_ms, *_in_columns(events)
        )

    async def fail_schema(
        self,
        run: UUID,
        started: StartedSchema,
        status: str,
        problem: Mapping[str, Any],
        steps: Sequence[Step],
        *,
        stop: bool,
    ) -> None:
        """An attempt failed or was cancelled; ignored if there is a newer one. ``stop``: start no other schema."""
        names, times = [step.filename for step in steps], [str(step.execution_time_ms) for step in steps]
        await self._rows(
            "fail_schema", run, started.schema, started.attempt, status, as_json(problem), names, times, stop
        )

    async def requeue(self, item: Item, replica: UUID, reason: str) -> None:
        """Hand the schemas of a chunk that ``replica`` is working on to any replica."""
        await self._rows("requeue", item.run, item.chunk, replica, reason)

    async def abandon(self, item: Item, problem: Mapping[str, Any]) -> None:
        """Fail the schemas of a chunk that cannot be processed."""
        await self._rows("abandon", item.run, item.chunk, as_json(problem))
        await self.finish(item.run, item.chunk)

    async def finish(
        self,
        run: UUID,
        summarized_chunk: int | None = None,
        follow_up: FollowUp | None = None,
        *,
        has_canaries: bool = True,
    ) -> str | None:
        """End the run if all of its schemas have ended and are summarized; returns its status if so.

        ``summarized_chunk``: the summaries show the schemas of this chunk that have ended.

        If the canary schemas have succeeded, the others are put into the queue. The end of a run puts its parent runs
        into the queue. ``follow_up`` may return a run to create once this one has succeeded. ``has_canaries``: it may
        have canary schemas.
        """

        async def release_or_end(connection: Connection) -> str | None:
            if summarized_chunk is not None:
                await connection.execute(self._sql("mark_summarized"), run, summarized_chunk)
            released = await connection.fetch(self._sql("release_chunks"), run) if has_canaries else ()
            chunks = [row["chunk"] for row in released]
            if chunks:
                await enqueue(connection, [Item(run, chunk) for chunk in chunks], priority=_priority(len(chunks)))
                return None
            status: str | None = await connection.fetchval(self._sql("finish"), run)
            if status == "succeeded" and follow_up is not None:
                rows = await connection.fetch(self._sql("succeeded_schemas"), run)
                new = await follow_up([row["schema"] for row in rows])
                if new is not None:
                    await self._insert(connection, new)
            if status is not None:
                parents = await connection.fetch(self._sql("parents", area="run_children"), run)
                items = [Item(row["run"], row["position"], of_all=True) for row in parents]
                if items:
                    await enqueue(connection, items, priority=ALONE)
            return status

        return await self._transaction(release_or_end)

    async def request_cancel(self, run: UUID) -> bool:
        """Ask the replicas that are processing a run to stop; False if it has ended."""
        return await self._value("request_cancel", run) is not None

    async def cancel(self, run: UUID) -> bool:
        """Like :meth:`request_cancel`; a run that no replica is processing ends."""
        requested = await self.request_cancel(run)
        if requested:
            await self.finish(run)
        return requested

    async def has_active_runs(self) -> bool:
        """Whether there are runs that have not ended, of any replica."""
        return bool(await self._value("has_active"))

    async def is_backend_of_run(self, module: str, schema: str, pid: int) -> bool:
        """Whether the backend ``pid`` belongs to a run, for that module in that schema."""
        return bool(await self._value("is_backend_of_run", module, schema, pid))

    async def cancel_backend(self, db: AsyncDatabaseManager, pid: int) -> None:
        """Cancel what the backend of an attempt is executing; its connection has not been returned to the pool.

        ``db`` connects as the user of the backend: other users may not cancel it.
        """
        await db.execute(statement("runs", "cancel_backend"), pid)

    async def heartbeat(self, replica: UUID, host: str, pid: int, version: str) -> None:
        """Register a replica, or show that it is alive."""
        await self._rows("heartbeat", replica, host, pid, version, area="replicas")

    async def deregister(self, replica: UUID) -> None:
        await self._rows("deregister", replica, area="replicas")

    async def prune(self, keep_days: float) -> None:
        """Delete what is old."""
        await self._rows("prune", keep_days)
        await self._rows("prune", area="replicas")
        await self._rows("prune_queue_log")

    async def recover_items(self) -> None:
        """Put items that were lost from the queue back into it."""
        orphaned = [Item(**row) for row in await self._rows("orphaned")]
        if orphaned:
            await self._transaction(lambda connection: enqueue(connection, orphaned, priority=_AMONG_MANY))

    @property
    def _db(self) -> AsyncDatabaseManager:
        return self._database.manager(SERVICE_SCHEMA)

    def _sql(self, name: str, area: str = "runs") -> str:
        return self._db.prepare_query(statement(area, name))

    async def _take(self, item: Item) -> tuple[TakenRun, list[UnfinishedSchema]] | None:
        rows = await self._rows("take", item.run, item.chunk, self._stale_s)
        if not rows:
            return None
        row: RowDict = dict(rows[0])
        with reading_rows():
            unfinished = msgspec.json.decode(row.pop("unfinished") or "[]", type=list[UnfinishedSchema])
            row["options"] = msgspec.json.decode(row["options"], type=RunOptions)
            for name, kind in (("hold", StartHold), ("freeze", Freeze), ("approvals", Approvals)):
                row[name] = None if row[name] is None else msgspec.json.decode(row[name], type=kind)
            return TakenRun(**row), unfinished

    async def _rows(self, name: str, *args: object, area: str = "runs") -> list[RowDict]:
        return await self._retried(lambda: self._db.fetch_all(statement(area, name), *args))

    async def _value(self, name: str, *args: object) -> Any:
        rows = await self._rows(name, *args)
        return next(iter(rows[0].values())) if rows else None

    async def _grouped(self, run: UUID, name: str, *args: object) -> list[RowDict]:
        """The rows of a statement whose first parameter is ``run``. Concurrent statements of the run share a
        transaction."""
        group = self._groups.setdefault(run, GroupedWrites(self._commit))
        try:
            return await group.rows(name, run, *args)
        finally:
            if group.is_idle:
                self._groups.pop(run, None)

    async def _commit(self, writes: Sequence[Write]) -> list[list[RowDict]]:
        if len(writes) == 1:
            return [await self._rows(writes[0].name, *writes[0].args)]

        async def execute(connection: Connection) -> list[list[RowDict]]:
            return [as_dicts(await connection.fetch(self._sql(write.name), *write.args)) for write in writes]

        return await self._transaction(execute)

    async def _transaction(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        async def attempt() -> T:
            async with self._db.acquire() as connection, in_transaction(connection):
                return await work(connection)

        return await self._retried(attempt)

    async def _retried(self, work: Callable[[], Awaitable[T]]) -> T:
        with without_reset():
            if self._stopping is None:
                return await repeat_on_conflict(work)
            return await until_available(work, self._stopping)


def chunked(schemas: int, canary: int) -> list[int]:
    """The chunk number of each schema: canaries are chunk 0, others begin at 1.

    Chunks are small enough that each replica gets some and no item holds a slot for long.
    """
    canaries = min(canary, schemas)
    size = min(_MOST_IN_CHUNK, max(1, (schemas - canaries) // _FEWEST_CHUNKS))
    return [CANARIES] * canaries + [1 + position // size for position in range(schemas - canaries)]


def _in_columns(events: Sequence[RunEvent]) -> tuple[list[str], list[str]]:
    return [kind for kind, _ in events], [as_json(data) for _, data in events]


def _priority(items: int) -> int:
    """A run in one schema must not wait behind a run in ten thousand."""
    return ALONE if items == 1 else _AMONG_MANY


def as_json(value: object) -> str:
    # The type text cannot contain NUL, which error messages may quote.
    return msgspec.json.encode(value, enc_hook=str).decode().replace("\\u0000", "")
