"""Shows the progress of each backfill, and pauses, resumes and limits backfills while they run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.creation import create_if_missing
from ...errors import MigrationError
from ..backfill.records import BackfillRecords, BackfillState
from ..state.history import require_own_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..results import JournalEvent
    from .engine import MigrationEngine

__all__ = ["BackfillState", "Backfills"]


class Backfills:
    """The backfills of one module in one schema.

    A change takes effect after the current batch: the runner reads it before each batch. File names may be
    given without ``.sql``.
    """

    def __init__(self, engine: MigrationEngine) -> None:
        self._engine = engine
        self._records = BackfillRecords(engine.history.schema, engine.history.module)

    async def states(self) -> Sequence[BackfillState]:
        """The progress of each backfill that has started, or was paused or limited before it started."""
        async with self._engine.db.acquire() as connection:
            return await self._records.states(connection)

    async def pause(self, filename: str) -> str:
        """Stop a backfill after its current batch, or before its first one. Returns the name of the file.

        Raises:
            MigrationError: there is no such backfill, or it has ended.
        """
        return await self._set(filename, "paused", paused=True)

    async def resume(self, filename: str) -> str:
        """Let a paused backfill continue. Returns and raises the same as :meth:`pause`."""
        return await self._set(filename, "resumed", paused=False)

    async def limit(self, filename: str, rows_per_s: int) -> str:
        """Let a backfill process at most ``rows_per_s`` rows per second; 0 means no limit. Returns and raises the same
        as :meth:`pause`."""
        if rows_per_s < 0:
            raise MigrationError("The rate of a backfill, in rows per second, cannot be negative.")
        return await self._set(filename, "limited", rate=rows_per_s)

    async def _set(
        self, filename: str, event: JournalEvent, *, paused: bool | None = None, rate: int | None = None
    ) -> str:
        migrations = {one.filename.removesuffix(".sql"): one for one in await self._engine.collect()}
        migration = migrations.get(filename.removesuffix(".sql"))
        if migration is None or not migration.is_backfill:
            known = ", ".join(one.filename for one in migrations.values() if one.is_backfill)
            raise MigrationError(f"There is no backfill {filename!r}; the backfills are: {known or 'none'}.", filename)
        name, history = migration.filename, self._engine.history
        async with self._engine.db.acquire() as connection:
            is_applied = name in (await history.applied(connection) or {})
        if not is_applied:
            await self._engine.create_tables()
            async with self._engine.db.acquire() as connection:
                await create_if_missing(connection, self._records.creation)
                await require_own_table(connection, self._records.table, self._engine.options.role)
                is_applied = not await self._records.pause(connection, name, paused=paused, rate=rate)
                if not is_applied:
                    message = None if rate is None else f"{rate} rows per second"
                    await self._engine.journal.record(connection, name, event, message=message)
        if is_applied:
            raise MigrationError(f"{name} has ended.", name)
        return name
