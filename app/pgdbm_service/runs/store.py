"""The rows of runs: how they come to be, what happens to them, how they end.

Each method is one transaction. Whatever changes a run takes the lock of its row while it counts events up, so that
their numbers are in the order of the commits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import msgspec

from ..own_schema import OWN_SCHEMA
from . import statements as sql
from .queue import Item, enqueue
from .structs import Progress, Wishes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgdbm.core.manager import AsyncDatabaseManager

    from ..database import Database

CANARIES = 0
"""The chunk of the schemas that go before the others."""

ALONE, _AMONG_MANY = 10, 0
_MOST_IN_CHUNK = 50
_CHUNKS_AT_LEAST = 40


class NewRun(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is made of. ``request`` is the digest of what came with ``key``."""

    id: UUID
    module: str
    wishes: Wishes
    digest: str
    bundle: str
    schemas: Sequence[str]
    caller: str
    request_id: str | None = None
    traceparent: str | None = None
    retry_of: UUID | None = None
    key: str | None = None
    request: str = ""


class BegunRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run as whoever works on it sees it."""

    id: UUID
    module: str
    wishes: Wishes
    bundle: str
    caller: str
    traceparent: str | None
    cancelled: bool
    schemas: int


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A schema that is not done. ``is_owned``: a replica that is alive is at it."""

    schema: str
    attempts: int
    instance: UUID | None
    backend_pid: int | None
    is_owned: bool


class Begun(msgspec.Struct):
    """An attempt at a schema. ``pending`` is what the first attempt found to do; None where this is the first."""

    attempt: int
    pending: list[str] | None


class Store:
    def __init__(self, database: Database, stale_s: float) -> None:
        self._database = database
        self._stale_s = stale_s

    @property
    def _db(self) -> AsyncDatabaseManager:
        return self._database.manager(OWN_SCHEMA)

    async def create(self, new: NewRun) -> bool:
        """Write the run down, and put it into the queue; False where one like it is under way.

        Raises:
            KeyTakenError: another request has used the key a moment ago.
        """
        canary = new.wishes.canary if len(new.schemas) > 1 else 0
        chunks = chunked(len(new.schemas), canary)
        db = self._db
        async with db.acquire() as connection, connection.transaction():
            try:
                created = await connection.fetchval(
                    db.prepare_query(sql.CREATE),
                    new.id,
                    new.module,
                    as_json(new.wishes),
                    new.digest,
                    new.bundle,
                    new.caller,
                    new.request_id,
                    new.retry_of,
                    list(new.schemas),
                    [str(chunk) for chunk in chunks],
                    new.key,
                    new.request,
                    new.traceparent,
                )
            except asyncpg.UniqueViolationError:
                raise KeyTakenError from None
            if created is None:
                return False
            first = [CANARIES] if canary else sorted(set(chunks))
            await enqueue(connection, [Item(new.id, chunk) for chunk in first], priority=_priority(len(first)))
        return True

    async def remember_key(self, caller: str, key: str, request: str, run: UUID) -> None:
        """The key of a request that joined ``run``."""
        await self._db.execute(sql.REMEMBER_KEY, caller, key, request, run)

    async def forget_key(self, caller: str, key: str) -> None:
        await self._db.execute(sql.FORGET_KEY, caller, key)

    async def begin(self, run: UUID) -> BegunRun | None:
        """The run to work on; None where it has ended."""
        row = await self._db.fetch_one(sql.BEGIN, run)
        if row is None:
            return None
        row["wishes"] = msgspec.json.decode(row["wishes"], type=Wishes)
        return BegunRun(**row)

    async def waiting(self, item: Item) -> list[Waiting]:
        """The schemas of a chunk that are not done, in order."""
        rows = await self._db.fetch_all(sql.WAITING, item.run, item.chunk, self._stale_s)
        return [Waiting(**row) for row in rows]

    async def begin_schema(self, run: UUID, schema: str, instance: UUID) -> Begun | None:
        """Take a schema. None: nothing is to be done, as it is done, or the run was cancelled, or has ended."""
        row = await self._db.fetch_one(sql.BEGIN_SCHEMA, run, schema, instance)
        return None if row is None else Begun(row["attempts"], row["pending"])

    async def note(
        self,
        run: UUID,
        schema: str,
        attempt: int,
        events: Sequence[tuple[str, Mapping[str, Any]]],
        progress: Progress,
        backend_pid: int | None,
        pending: Sequence[str] | None = None,
    ) -> bool:
        """Write down how far an attempt is; whether the run is to be cancelled."""
        row = await self._db.fetch_one(
            sql.NOTE,
            run,
            schema,
            attempt,
            [kind for kind, _ in events],
            [as_json(data) for _, data in events],
            as_json(progress),
            backend_pid,
            None if pending is None else list(pending),
        )
        return row is not None and bool(row["cancelled"])

    async def succeed(
        self, run: UUID, schema: str, steps: Sequence[tuple[str, int]], skipped: int, total: int, ms: float
    ) -> None:
        """A schema is done. Whoever says so is right, also if somebody else has been taken to be at it since."""
        names, times = [name for name, _ in steps], [str(took) for _, took in steps]
        await self._db.execute(sql.SUCCEED, run, schema, names, times, skipped, total, ms)

    async def fail(
        self,
        run: UUID,
        schema: str,
        attempt: int,
        status: str,
        problem: Mapping[str, Any],
        steps: Sequence[tuple[str, int]],
        *,
        stop: bool,
    ) -> None:
        """An attempt failed, or was cancelled. Passed over if there is a newer one. ``stop``: begin no other schema."""
        names, times = [name for name, _ in steps], [str(took) for _, took in steps]
        await self._db.execute(sql.FAIL, run, schema, attempt, status, as_json(problem), names, times, stop)

    async def requeue(self, item: Item, instance: UUID, reason: str) -> None:
        """What this instance has of a chunk is for another to go on with."""
        await self._db.execute(sql.REQUEUE, item.run, item.chunk, instance, reason)

    async def abandon(self, item: Item, problem: Mapping[str, Any]) -> None:
        """A defect of ours keeps a chunk from being worked on."""
        await self._db.execute(sql.ABANDON, item.run, item.chunk, as_json(problem))
        await self.finish(item.run)

    async def cancel_chunk(self, item: Item) -> None:
        """Nobody is at the rest of a chunk of a cancelled run any more."""
        await self._db.execute(sql.CANCEL_CHUNK, item.run, item.chunk, self._stale_s)

    async def pass_canary(self, run: UUID) -> None:
        """Let the other schemas begin, if the canaries are done and well."""
        db = self._db
        async with db.acquire() as connection, connection.transaction():
            rows = await connection.fetch(db.prepare_query(sql.RELEASE_OTHERS), run)
            items = [Item(run, row["chunk"]) for row in rows]
            if items:
                await enqueue(connection, items, priority=_priority(len(items)))

    async def finish(self, run: UUID) -> str | None:
        """End the run, if none of its schemas is left to do; its status then. The runs that it is a part of go on."""
        db = self._db
        async with db.acquire() as connection, connection.transaction():
            status: str | None = await connection.fetchval(db.prepare_query(sql.FINISH), run)
            if status is not None:
                wholes = await connection.fetch(db.prepare_query(sql.WHOLES), run)
                items = [Item(row["run"], row["position"], of_all=True) for row in wholes]
                if items:
                    await enqueue(connection, items, priority=ALONE)
        return status

    async def request_cancel(self, run: UUID) -> bool:
        """Ask whoever works on the run to stop, and let nobody begin; False where it has ended already."""
        return await self._db.fetch_value(sql.REQUEST_CANCEL, run) is not None

    async def cancel(self, run: UUID) -> bool:
        """Ask whoever works on the run to stop, and end it where nobody does; False where it has ended already."""
        asked = await self.request_cancel(run)
        if asked:
            await self.finish(run)
        return asked

    async def ours(self, module: str, schema: str, pid: int) -> bool:
        """Whether the backend ``pid`` works for a run, on that module in that schema."""
        return bool(await self._db.fetch_value(sql.OURS, module, schema, pid))

    async def beat(self, instance: UUID, host: str, pid: int, version: str) -> None:
        """Say that this instance is alive."""
        await self._db.execute(sql.BEAT, instance, host, pid, version)

    async def say_goodbye(self, instance: UUID) -> None:
        await self._db.execute(sql.SAY_GOODBYE, instance)

    async def tidy(self, keep_days: float) -> None:
        """Forget what is old, and put back into the queue what was lost from it."""
        db = self._db
        await db.execute(sql.FORGET_RUNS, keep_days)
        await db.execute(sql.FORGET_INSTANCES)
        await db.execute(sql.FORGET_QUEUE_LOG)
        lost = [Item(**row) for row in await db.fetch_all(sql.LOST)]
        if lost:
            async with db.acquire() as connection, connection.transaction():
                await enqueue(connection, lost, priority=_AMONG_MANY)


class KeyTakenError(Exception):
    """An Idempotency-Key leads to a run already."""


def chunked(schemas: int, canary: int) -> list[int]:
    """The number of each schema's chunk. The canaries are chunk 0, others begin at 1.

    Small enough that every replica gets some of them, and that no item holds a slot for long.
    """
    canaries = min(canary, schemas)
    size = min(_MOST_IN_CHUNK, max(1, (schemas - canaries) // _CHUNKS_AT_LEAST))
    return [CANARIES] * canaries + [1 + position // size for position in range(schemas - canaries)]


def _priority(items: int) -> int:
    """Few items go before many: who waits for one schema does not wait for ten thousand others."""
    return ALONE if items == 1 else _AMONG_MANY


def as_json(value: Any) -> str:
    # A text of PostgreSQL's cannot hold NUL, and messages quote what they find.
    return msgspec.json.encode(value, enc_hook=str).decode().replace("\\u0000", "")
