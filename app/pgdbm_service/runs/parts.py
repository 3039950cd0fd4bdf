"""The rows of a run of all modules, whose parts are runs of one module each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import msgspec

from ..own_schema import OWN_SCHEMA
from .queue import Item, enqueue
from .store import ALONE, KeyTakenError, as_json
from .structs import ALL_MODULES, MigrateResult, RunPart

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pgdbm.core.manager import AsyncDatabaseManager

    from ..database import Database
    from .accepting import Request

_CREATE = """
WITH run AS (
    INSERT INTO {{tables.runs}} (id, module, wishes, digest, caller, request_id, retry_of, traceparent, events)
    VALUES ($1, $2::text, '{}', $1::uuid::text, $3::text, $4, $5, $9, 1)
    RETURNING id
), parts AS (
    INSERT INTO {{tables.run_parts}} (run, position, module)
    SELECT run.id, given.position, given.module
    FROM run, unnest($6::text[]) WITH ORDINALITY AS given (module, position)
), key AS (
    INSERT INTO {{tables.run_keys}} (caller, key, request, run)
    SELECT $3::text, $7::text, $8::text, run.id FROM run WHERE $7::text IS NOT NULL
), event AS (
    INSERT INTO {{tables.run_events}} (run, number, kind, data)
    SELECT run.id, 1, 'run_queued', jsonb_build_object('module', $2::text, 'modules', cardinality($6::text[])) FROM run
)
SELECT pg_catalog.pg_notify('pgdbm_service_events', id::text) FROM run
"""
_NEXT = """
SELECT r.caller, r.request_id, r.traceparent, r.cancel_requested_at IS NOT NULL AS cancelled,
       p.position, p.module, p.part
FROM {{tables.runs}} r LEFT JOIN LATERAL (
    SELECT * FROM {{tables.run_parts}} WHERE run = r.id AND status IN ('queued', 'running') ORDER BY position LIMIT 1
) p ON true
WHERE r.id = $1 AND r.module = $2 AND r.status IN ('queued', 'running')
"""
_BEGIN = """
WITH run AS (
    UPDATE {{tables.runs}}
    SET status = 'running', started_at = COALESCE(started_at, now()), instance = $4, events = events + 1
    WHERE id = $1 AND status IN ('queued', 'running')
      AND EXISTS (SELECT FROM {{tables.run_parts}} WHERE run = $1 AND position = $2 AND status = 'queued')
    RETURNING id, events
), mine AS (
    UPDATE {{tables.run_parts}} p SET status = 'running', part = $3
    FROM run WHERE p.run = run.id AND p.position = $2
    RETURNING p.module
), event AS (
    INSERT INTO {{tables.run_events}} (run, number, kind, data)
    SELECT run.id, run.events, 'module_began', jsonb_build_object('module', mine.module, 'run_id', $3::uuid)
    FROM run, mine
)
SELECT pg_catalog.pg_notify('pgdbm_service_events', id::text) FROM run
"""
_IS_CANCELLED = "SELECT cancel_requested_at IS NOT NULL FROM {{tables.runs}} WHERE id = $1"
_END = """
WITH run AS (
    UPDATE {{tables.runs}} SET events = events + 1
    WHERE id = $1 AND status IN ('queued', 'running')
      AND EXISTS (SELECT FROM {{tables.run_parts}}
                  WHERE run = $1 AND position = $2 AND status IN ('queued', 'running'))
    RETURNING id, events
), mine AS (
    UPDATE {{tables.run_parts}} p SET status = $3::text, result = $4::jsonb
    FROM run WHERE p.run = run.id AND p.position = $2
    RETURNING p.module, p.part
), event AS (
    INSERT INTO {{tables.run_events}} (run, number, kind, data)
    SELECT run.id, run.events, 'module_ended',
           jsonb_build_object('module', mine.module, 'run_id', mine.part, 'status', $3::text)
    FROM run, mine
)
SELECT pg_catalog.pg_notify('pgdbm_service_events', id::text) FROM run
"""
_FINISH = """
WITH run AS (
    UPDATE {{tables.runs}}
    SET status = $2::text, problem = $3::jsonb, ended_at = clock_timestamp(), events = events + 1,
        result = jsonb_build_object(
            'total_time_ms', 1000 * EXTRACT(epoch FROM clock_timestamp() - COALESCE(started_at, created_at)))
    WHERE id = $1 AND status IN ('queued', 'running')
    RETURNING id, events
), rest AS (
    UPDATE {{tables.run_parts}} p SET status = 'not_reached'
    FROM run WHERE p.run = run.id AND p.status IN ('queued', 'running')
), event AS (
    INSERT INTO {{tables.run_events}} (run, number, kind, data)
    SELECT id, events, 'run_ended', jsonb_build_object('status', $2::text, 'problem', $3::jsonb) FROM run
)
SELECT pg_catalog.pg_notify('pgdbm_service_events', id::text) FROM run
"""
# Waits for whoever is ending the run just now: they look for those who wait for it before they commit.
_HAS_ENDED = "SELECT ended_at IS NOT NULL FROM {{tables.runs}} WHERE id = $1 FOR SHARE"
_ALL = "SELECT module, status, part, result FROM {{tables.run_parts}} WHERE run = $1 ORDER BY position"


class Todo(msgspec.Struct, frozen=True, kw_only=True):
    """What is next: a part to begin, or with ``part`` a run to wait for. No ``position``: everything is done."""

    caller: str
    request_id: str | None
    traceparent: str | None
    cancelled: bool
    position: int | None
    module: str | None
    part: UUID | None


class Parts:
    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def _db(self) -> AsyncDatabaseManager:
        return self._database.manager(OWN_SCHEMA)

    async def create(
        self, run: UUID, modules: Sequence[str], request: Request, digest: str, retry_of: UUID | None
    ) -> None:
        """Write a run of ``modules``, in this order, down, and put it into the queue; ``digest`` is of the request.

        Raises:
            KeyTakenError: another request has used the key a moment ago.
        """
        db = self._db
        async with db.acquire() as connection, connection.transaction():
            try:
                await connection.execute(
                    db.prepare_query(_CREATE),
                    run,
                    ALL_MODULES,
                    request.caller,
                    request.request_id,
                    retry_of,
                    list(modules),
                    request.key,
                    digest,
                    request.traceparent,
                )
            except asyncpg.UniqueViolationError:
                raise KeyTakenError from None
            await enqueue(connection, [Item(run, 0, of_all=True)], priority=ALONE)

    async def next(self, run: UUID) -> Todo | None:
        """What is to be done next; None where the run has ended."""
        row = await self._db.fetch_one(_NEXT, run, ALL_MODULES)
        return None if row is None else Todo(**row)

    async def begin(self, run: UUID, position: int, part: UUID, instance: UUID) -> bool:
        """From now on the run ``part`` is waited for; whether the whole is to be cancelled, or was."""
        await self._db.execute(_BEGIN, run, position, part, instance)
        return bool(await self._db.fetch_value(_IS_CANCELLED, run))

    async def end(self, run: UUID, position: int, status: str, result: MigrateResult | None) -> None:
        await self._db.execute(_END, run, position, status, None if result is None else as_json(result))

    async def finish(self, run: UUID, status: str, problem: Mapping[str, Any] | None) -> None:
        """End the run; what has not begun is not reached."""
        await self._db.execute(_FINISH, run, status, None if problem is None else as_json(problem))

    async def has_ended(self, part: UUID) -> bool:
        """Whether the run of a module has ended. Where it has not, its end will put the whole into the queue."""
        return (await self._db.fetch_value(_HAS_ENDED, part)) is not False

    async def of(self, run: UUID) -> list[RunPart]:
        """The parts in their order."""
        return [
            RunPart(
                module=row["module"],
                status=row["status"],
                run_id=row["part"],
                result=None if row["result"] is None else msgspec.json.decode(row["result"], type=MigrateResult),
            )
            for row in await self._db.fetch_all(_ALL, run)
        ]
