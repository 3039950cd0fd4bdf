"""The rows of a run of several modules, whose children are runs of one module each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from pgdbm.core.connection import in_transaction

from ..api.runs import ALL_MODULES, ChildRun, MigrateResult, RunOptions
from ..database.retrying import repeated_on_conflict
from ..database.rows import reading_rows
from ..database.service_schema import SERVICE_SCHEMA
from ..database.sql import statement
from .queue import Item, enqueue
from .store import ALONE, as_json
from .stored_runs import KeyTakenError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pgdbm.core.connection import RowDict
    from pgdbm.core.manager import AsyncDatabaseManager

    from ..database.pool import Database
    from .request import MigrationRequest


class NewChild(NamedTuple):
    """A module to migrate with the files of a stored bundle; without one, ``problem`` says why it cannot be migrated.

    ``is_left_out``: the run does not fail because of it.
    """

    module: str
    bundle: str | None = None
    problem: Mapping[str, Any] | None = None
    options: RunOptions = RunOptions()
    is_left_out: bool = False


class NextChild(msgspec.Struct, frozen=True, kw_only=True):
    """The child to start or, with ``child``, the run to wait for; if ``position`` is None, all have ended."""

    created_by: str
    request_id: str | None
    traceparent: str | None
    cancelled: bool
    position: int | None
    module: str | None
    options: str | None
    problem: str | None
    stored: str | None
    child: UUID | None


class ChildRuns:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, run: UUID, children: Sequence[NewChild], request: MigrationRequest) -> None:
        """Insert a run of ``children``, to be migrated in this order, and put it into the queue.

        Raises:
            KeyTakenError: the key belongs to another run, which a concurrent request has created.
        """
        origin = request.origin

        @repeated_on_conflict
        async def insert() -> None:
            async with self._db.acquire() as connection, in_transaction(connection):
                await connection.execute(
                    self._db.prepare_query(statement("run_children", "create")),
                    run,
                    ALL_MODULES,
                    origin.principal,
                    origin.request_id,
                    request.retry_of,
                    [child.module for child in children],
                    origin.key,
                    request.digest,
                    origin.traceparent,
                    [child.bundle for child in children],
                    [None if child.problem is None else as_json(child.problem) for child in children],
                    ["not_reached" if child.is_left_out else "queued" for child in children],
                    [as_json(child.options) for child in children],
                )
                await enqueue(connection, [Item(run, 0, of_all=True)], priority=ALONE)

        try:
            await insert()
        except asyncpg.UniqueViolationError:
            raise KeyTakenError from None

    async def next(self, run: UUID) -> NextChild | None:
        """The next step; None if the run has ended."""
        rows = await self._rows("next", run, ALL_MODULES)
        with reading_rows():
            return NextChild(**rows[0]) if rows else None

    async def start(self, run: UUID, position: int, child: UUID, replica: UUID) -> bool:
        """Make ``child`` the run at ``position``; returns whether the parent was cancelled."""
        await self._rows("start", run, position, child, replica)
        return bool(await self._value("is_cancelled", run))

    async def end(self, run: UUID, position: int, status: str, result: MigrateResult | None) -> None:
        await self._rows("end", run, position, status, None if result is None else as_json(result))

    async def finish(self, run: UUID, status: str, problem: Mapping[str, Any] | None) -> None:
        """End the run; children that have not ended are not reached."""
        await self._rows("finish", run, status, None if problem is None else as_json(problem))

    async def has_ended(self, child: UUID) -> bool:
        """Whether a child has ended, or was pruned. If the child has not ended, its end puts the parent into the
        queue."""
        return (await self._value("has_ended", child)) is not False

    async def bundles(self, run: UUID) -> dict[str, str | None]:
        """The bundles of the modules that did not succeed; empty for a run of one module."""
        return {row["module"]: row["bundle"] for row in await self._rows("bundles", run)}

    async def options(self, run: UUID) -> dict[str, RunOptions]:
        """The options of each module."""
        return {
            row["module"]: msgspec.json.decode(row["options"] or "{}", type=RunOptions)
            for row in await self._rows("options", run)
        }

    async def of(self, run: UUID) -> list[ChildRun]:
        """The children of a run, in order."""
        return [
            ChildRun(
                module=row["module"],
                status=row["status"],
                run_id=row["child"],
                result=None if row["result"] is None else msgspec.json.decode(row["result"], type=MigrateResult),
                problem=None if row["problem"] is None else msgspec.json.decode(row["problem"]),
            )
            for row in await self._rows("list", run)
        ]

    @property
    def _db(self) -> AsyncDatabaseManager:
        return self._database.manager(SERVICE_SCHEMA)

    @repeated_on_conflict
    async def _rows(self, name: str, *args: object) -> list[RowDict]:
        return await self._db.fetch_all(statement("run_children", name), *args)

    async def _value(self, name: str, *args: object) -> Any:
        rows = await self._rows(name, *args)
        return next(iter(rows[0].values())) if rows else None
