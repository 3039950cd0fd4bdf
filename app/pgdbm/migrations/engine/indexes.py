"""Indexes and partitions left behind by a CONCURRENTLY statement that failed or was killed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ...core.templating import quote
from ...errors import MigrationError

if TYPE_CHECKING:
    import asyncpg

    from ..sources.parser import ParsedMigration
    from ..sources.statements import Statement
    from .session import Session

logger = logging.getLogger("pgdbm.migrations")


def builds_index(running: Statement) -> bool:
    """Whether ``running`` is CREATE INDEX CONCURRENTLY."""
    return running.traits.kind == "index_stmt" and running.traits.non_transactional is not None


class Indexes:
    """The state of the indexes and partitions that ``migration`` changes concurrently."""

    def __init__(self, session: Session, migration: ParsedMigration) -> None:
        self._session = session
        self._connection = session.connection
        self._journal = session.journal
        self._migration = migration

    async def state(self, running: Statement) -> asyncpg.Record | None:
        """``valid``, ``table_name`` and ``being_built`` of the index that ``running`` names; None without it."""
        schema, table, index = running.traits.target
        if index is None:
            return None
        if schema is None:
            schema = await self._connection.fetchval(self._journal.sql("schema_of"), quote(table or ""))
        return await self._connection.fetchrow(self._journal.sql("index_state"), schema, index)

    async def drop_invalid(self, running: Statement, *, ours: bool) -> None:
        """Before CREATE INDEX CONCURRENTLY: drop an INVALID index of that name if it is ``ours``.

        Raises:
            MigrationError: it is not.
        """
        state = await self.state(running)
        if state is None or state["valid"]:
            return
        schema, _table, index = running.traits.target
        assert index is not None
        name = f"{quote(schema)}.{quote(index)}" if schema else quote(index)
        if not ours:
            line, column = self._migration.position(running.start)
            being_built = state["being_built"]
            raise MigrationError(
                f"{self._migration.filename}:{line}:{column}: the index {name} on {state['table_name']} is INVALID, "
                f"and this migration did not create it: another CREATE INDEX CONCURRENTLY "
                f"{'is running' if being_built else 'has failed'}. "
                f"{'Wait for it' if being_built else f'Run DROP INDEX CONCURRENTLY {name}'}, then run again.",
                self._migration.filename,
                details={"statement": running.number, "line": line, "column": column},
            )
        await self._drop(name)

    async def prepare_retry(self, running: Statement, text: str) -> str:
        """Drop what an earlier attempt at ``running`` left behind. Returns what to run instead of ``text``."""
        traits = running.traits
        if traits.kind == "reindex_stmt" and traits.target:
            # REINDEX would skip INVALID copies that an earlier attempt left.
            for row in await self._connection.fetch(self._journal.sql("reindex_leftovers"), *traits.target):
                await self._drop(f"{quote(row['schema'])}.{quote(row['name'])}")
        if traits.kind != "alter_table_stmt" or traits.non_transactional is None:
            return text
        partition = await self._connection.fetchrow(self._journal.sql("partition"), *traits.target)
        if partition is not None and partition["pending"]:
            parent, child = traits.target
            return f"ALTER TABLE {parent} DETACH PARTITION {child} FINALIZE"
        return text

    async def check(self, running: Statement) -> None:
        """After CREATE INDEX CONCURRENTLY: IF NOT EXISTS accepts an INVALID index.

        Raises:
            MigrationError: the index is INVALID.
        """
        if not builds_index(running):
            return
        state = await self.state(running)
        if state is not None and not state["valid"]:
            raise MigrationError(
                f"{self._migration.filename}: statement {running.number} left the index {running.traits.target[2]} "
                f"INVALID.",
                self._migration.filename,
                details={"statement": running.number},
            )

    async def _drop(self, name: str) -> None:
        logger.info("Dropping the INVALID index %s, left by an earlier attempt", name)
        await self._session.send(f"DROP INDEX CONCURRENTLY {name}")
