"""Freezes: while one is in force, no run of the modules that it names starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ..api.freezes import Freeze
from ..database.globs import like_pattern
from ..database.retrying import repeated_on_conflict
from ..database.service_schema import SERVICE_SCHEMA
from ..database.sql import statement

if TYPE_CHECKING:
    from pgdbm.core.manager import AsyncDatabaseManager

    from ..api.freezes import FreezeBody
    from ..database.pool import Database


class Freezes:
    """The owner of the table of freezes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, body: FreezeBody, by: str) -> Freeze:
        """Freeze modules, or change their freeze. Runs that have started continue; no other run starts after this."""

        pattern = like_pattern(body.modules)

        @repeated_on_conflict
        async def write() -> Freeze:
            async with self._db.transaction() as tx:
                await tx.execute(statement("freezes", "lock_runs"))
                row = await tx.fetch_one(
                    statement("freezes", "put"), body.modules, pattern, body.reason, body.until, by
                )
                # The freeze may now end earlier than before.
                await tx.execute(statement("freezes", "wake"), pattern)
                return msgspec.convert(row, Freeze)

        return await write()

    async def in_force(self) -> list[Freeze]:
        """The freezes in force, by their globs."""
        return [msgspec.convert(row, Freeze) for row in await self._db.fetch_all(statement("freezes", "list"))]

    async def of_module(self, module: str) -> Freeze | None:
        """The freeze of ``module`` that ends last."""
        row = await self._db.fetch_one(statement("freezes", "of_module"), module)
        return None if row is None else msgspec.convert(row, Freeze)

    async def lift(self, modules: str | None) -> list[Freeze]:
        """End the freeze with the glob ``modules``, or all of them; the runs that they held start."""

        @repeated_on_conflict
        async def write() -> list[Freeze]:
            async with self._db.transaction() as tx:
                rows = await tx.fetch_all(statement("freezes", "lift"), modules)
                await tx.execute(statement("freezes", "wake"), None)
                return [msgspec.convert(row, Freeze) for row in rows]

        return await write()

    async def wake(self) -> None:
        """Make the items of runs due that are no longer held by a freeze, which may have ended in the meantime."""
        await self._db.execute(statement("freezes", "wake"), None)

    async def prune(self) -> None:
        """Delete old freezes."""
        await self._db.execute(statement("freezes", "prune"))

    @property
    def _db(self) -> AsyncDatabaseManager:
        return self._database.manager(SERVICE_SCHEMA)
