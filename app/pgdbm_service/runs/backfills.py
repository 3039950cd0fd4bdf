"""The progress of the backfills of a module, and pausing, resuming and limiting them while a run executes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgdbm.errors import MigrationError

from ..api.backfills import Backfill
from ..errors import ServiceError, invalid_request

if TYPE_CHECKING:
    from pgdbm.migrations import AsyncMigrationManager

    from ..api.backfills import BackfillBody
    from ..status.module_lookup import ModuleLookup


class BackfillService:
    """Takes no slot, because the runs that execute backfills may be using all of them."""

    def __init__(self, lookup: ModuleLookup) -> None:
        self._lookup = lookup

    async def backfills(self, name: str, schema: str | None) -> list[Backfill]:
        """The backfills of a module that have started, or were paused or limited before they started, by name."""
        module = await self._lookup.get(name)
        return await _states(await self._lookup.reader(module, schema))

    async def change(self, name: str, filename: str, body: BackfillBody) -> Backfill:
        """Pause, resume or limit a backfill. It takes effect after the current batch.

        Raises:
            ServiceError: migration_unknown, if there is no such backfill; migration_error, if it has ended.
        """
        if body.paused is None and body.rate is None:
            raise invalid_request([{"field": "paused", "message": "give paused or rate"}])
        module = await self._lookup.get(name)
        manager = await self._lookup.runner(module, body.schema)
        if not any(
            one.is_backfill for one in await manager.find_migration_files() if _is_named(one.filename, filename)
        ):
            raise ServiceError(
                "migration_unknown", f"{name} has no backfill {filename!r}.", module=name, filename=filename
            )
        try:
            if body.rate is not None:
                filename = await manager.backfills.limit(filename, body.rate)
            if body.paused is not None:
                change = manager.backfills.pause if body.paused else manager.backfills.resume
                filename = await change(filename)
        except MigrationError as error:
            raise ServiceError("migration_error", error.message, module=name, filename=filename) from error
        return next(one for one in await _states(manager) if one.filename == filename)


async def _states(manager: AsyncMigrationManager) -> list[Backfill]:
    names = [name for name in Backfill.__struct_fields__ if name != "schema"]
    return [
        Backfill(schema=manager.schema, **{name: getattr(one, name) for name in names})
        for one in await manager.backfills.states()
    ]


def _is_named(filename: str, given: str) -> bool:
    return given in (filename, filename.removesuffix(".sql"))
