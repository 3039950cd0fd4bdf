"""Running files in the schema of a rehearsal, and seeing what they do."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg

from ..core.pool import is_lost
from ..sql import statement
from .failures import execution_error, offset_of
from .inspection.lockmodes import LockMode
from .inspection.sqlwords import words_in
from .reach import Reach, reach_of
from .rehearsal import Failure, StatementRehearsal, TakenLock
from .session import NO_TIMEOUT_S, as_role

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .parser import ParsedMigration, Statement
    from .rehearsal import FileRehearsal

_INVALID_TERMINATION = "2D000"
# To build or refresh, PostgreSQL itself makes a table and drops it.
_REBUILDING = ("create_table_as_stmt", "refresh_mat_view_stmt")
_DROPPED = "it dropped something, and what it was cannot be told"

Held = dict[tuple[int, LockMode], tuple[str | None, str | None]]
"""(schema, name) by oid and mode."""


class FailedError(Exception):
    """A statement failed."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class StoppedError(Exception):
    """Going on would do harm."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What there is to say of a statement before it runs."""

    kind: str
    reach: Reach


class Rehearser:
    """Runs files over one connection in ``schema``, which stands for ``real``, as ``role`` if there is one."""

    def __init__(
        self, connection: Any, schema: str, real: str, role: str | None, settings: tuple[str, str | None]
    ) -> None:
        self._connection = connection
        self._schema = schema
        self._real = real
        self._role = role
        self._settings = settings
        self.open_since: str | None = None
        """The file from which on nothing is committed any more."""

    async def set_up(self) -> None:
        """Give the session the settings that every statement runs with."""
        await self._connection.execute(statement("rehearsal", "settings"), *self._settings)

    async def roll_back(self) -> None:
        if self._connection.is_in_transaction():
            await self._send("ROLLBACK")

    async def run(self, migration: ParsedMigration, file: FileRehearsal, *, measured: bool) -> None:
        """Run ``migration``; what it did is added to ``file``, locks only if ``measured``.

        Raises:
            FailedError: a statement was refused; nothing of the file is kept.
            StoppedError: its locks would keep others waiting for the rest of the rehearsal.
        """
        looks = await asyncio.to_thread(lambda: [self._look(migration, one) for one in migration.statements])
        began = time.perf_counter()
        if migration.transactional:
            await self._in_transaction(migration, file, looks, measured)
        else:
            await self._by_statement(migration, file, looks, measured)
        file.milliseconds = (time.perf_counter() - began) * 1000
        if migration.changes_session:
            await self._send("RESET ALL")
            await self.set_up()

    async def _in_transaction(
        self, migration: ParsedMigration, file: FileRehearsal, looks: list[_Look], measured: bool
    ) -> None:
        if self.open_since is None:
            await self._send("BEGIN")
        known = await self._known() if measured else {}
        held = await self._held() if measured else {}
        dropped: str | None = None
        async with as_role(self._connection, self._role):
            for one, look in zip(migration.statements, looks, strict=True):
                may_drop = _may_drop(one, look.reach)
                drops = await self._drops() if may_drop else 0
                milliseconds = await self._execute(migration, one, measured)
                if may_drop and await self._drops() != drops:
                    dropped = _DROPPED
                locks: tuple[TakenLock, ...] = ()
                if measured:
                    before, held = held, await self._held()
                    locks = self._taken(before, held, known)
                file.statements.append(_ran(migration, one, look.kind, milliseconds, locks))
        # A commit checks them, and there may be none.
        await self._check_deferred(migration, measured)
        if self.open_since is None:
            beyond = dropped or await self._beyond(max((look.reach for look in looks), default=Reach.INSIDE))
            if beyond is None:
                await self._commit(migration, measured)
                return
            self.open_since = migration.filename
            file.note = f"not committed: {beyond}"
        else:
            file.note = f"not committed, since {self.open_since} was not"
        await self._stop_if_in_the_way(migration)

    async def _by_statement(
        self, migration: ParsedMigration, file: FileRehearsal, looks: list[_Look], measured: bool
    ) -> None:
        if self.open_since is not None:
            raise StoppedError(
                f"{migration.filename} runs outside a transaction, and needs what {self.open_since} did: that reaches "
                f"beyond the schema and was not committed."
            )
        for one, look in zip(migration.statements, looks, strict=True):
            if one.traits.controls_transaction:
                reason = "every statement is rehearsed in its own transaction"
                file.statements.append(_skipped(migration, one, look.kind, reason))
            elif one.traits.autocommit_only is None:
                await self._alone(migration, one, file, look, measured)
            elif look.reach is Reach.INSIDE:
                async with as_role(self._connection, self._role, of_session=True):
                    milliseconds = await self._execute(migration, one, measured)
                file.statements.append(_ran(migration, one, look.kind, milliseconds, None))
            else:
                reason = "it reaches beyond the schema and cannot be undone"
                file.statements.append(_skipped(migration, one, look.kind, reason))

    async def _alone(
        self, migration: ParsedMigration, one: Statement, file: FileRehearsal, look: _Look, measured: bool
    ) -> None:
        """One statement of a file without a transaction, in a transaction all the same: to look at it, and undo it."""
        await self._send("BEGIN")
        known, before = await self._known(), await self._held()
        drops = await self._drops()
        try:
            async with as_role(self._connection, self._role):
                milliseconds = await self._execute(migration, one, measured)
        except FailedError as failed:
            if failed.failure.sqlstate != _INVALID_TERMINATION:
                raise
            await self.roll_back()
            reason = "it commits by itself, and what it did could not be undone"
            file.statements.append(_skipped(migration, one, look.kind, reason))
            return
        locks = self._taken(before, await self._held(), known)
        beyond = await self._beyond(look.reach)
        if beyond is None and _may_drop(one, look.reach) and await self._drops() != drops:
            beyond = _DROPPED
        if beyond is None:
            await self._commit(migration, measured)
        else:
            await self.roll_back()
            file.note = f"statement {one.number} was undone: {beyond}"
        file.statements.append(_ran(migration, one, look.kind, milliseconds, locks))

    def _look(self, migration: ParsedMigration, one: Statement) -> _Look:
        text = migration.text_of(one)
        return _Look(words_in(text) or one.traits.kind, reach_of(text, self._schema))

    async def _execute(self, migration: ParsedMigration, one: Statement, measured: bool) -> float:
        """Milliseconds that the statement took."""
        began = time.perf_counter()
        try:
            await self._send(migration.text_of(one))
        except asyncpg.PostgresError as error:
            await self._fail(error, migration, one, measured)
        return (time.perf_counter() - began) * 1000

    async def _commit(self, migration: ParsedMigration, measured: bool) -> None:
        try:
            await self._send("COMMIT")
        except asyncpg.PostgresError as error:
            await self._fail(error, migration, None, measured)

    async def _check_deferred(self, migration: ParsedMigration, measured: bool) -> None:
        try:
            await self._send("SET CONSTRAINTS ALL IMMEDIATE")
        except asyncpg.PostgresError as error:
            await self._fail(error, migration, None, measured)

    async def _fail(
        self, error: asyncpg.PostgresError, migration: ParsedMigration, one: Statement | None, measured: bool
    ) -> None:
        if is_lost(error):
            raise error
        await self.roll_back()
        located = execution_error(error, migration, one, offset_of(error))
        raise FailedError(
            Failure(
                filename=migration.filename,
                statement=located.statement,
                line=located.line,
                column=located.column,
                sqlstate=located.sqlstate,
                message=located.sql_error or "",
                detail=located.detail,
                hint=located.hint,
                replaying=not measured,
            )
        ) from error

    async def _beyond(self, reach: Reach) -> str | None:
        """What the open transaction did beyond the schema, in words; None where it stayed inside."""
        if reach is Reach.BEYOND:
            return "it reaches beyond the schema"
        # A foreign key takes SHARE ROW EXCLUSIVE on the table that it refers to, and goes with the schema.
        allowed = (LockMode.SHARE_ROW_EXCLUSIVE,) if reach is Reach.INSIDE else ()
        for (_, mode), (schema, name) in (await self._held()).items():
            if self._is_outside(schema) and mode > LockMode.ROW_SHARE and mode not in allowed:
                return f"it changes {schema}.{name} ({mode.sql})"
        if reach is Reach.OPEN:
            trace = await self._connection.fetchval(statement("rehearsal", "traces"), self._schema)
            return None if trace is None else f"it changes {trace}"
        return None

    async def _stop_if_in_the_way(self, migration: ParsedMigration) -> None:
        for (_, mode), (schema, name) in (await self._held()).items():
            if self._is_outside(schema) and mode >= LockMode.SHARE:
                await self.roll_back()
                raise StoppedError(
                    f"{migration.filename} takes {mode.sql} on {schema}.{name} and could not be committed: going on "
                    f"would keep others waiting for that table until the end."
                )

    def _is_outside(self, schema: str | None) -> bool:
        return schema is not None and schema != self._schema and not schema.startswith("pg_temp")

    def _taken(self, before: Held, after: Held, known: dict[int, str]) -> tuple[TakenLock, ...]:
        locks = []
        for (oid, mode), (schema, name) in after.items():
            if (oid, mode) in before:
                continue
            if schema is None and oid in known:
                schema, name = self._schema, known[oid]
            outside = self._is_outside(schema)
            shown = self._real if schema == self._schema else schema
            relation = None if schema is None else f"{shown}.{name}"
            locks.append(TakenLock(relation, mode, outside, is_new=not outside and oid not in known))
        return tuple(sorted(locks, key=lambda lock: (-lock.mode, lock.relation or "")))

    async def _held(self) -> Held:
        return {
            (row["oid"], LockMode.from_pg_locks(row["mode"])): (row["schema"], row["name"])
            for row in await self._connection.fetch(statement("rehearsal", "held"))
        }

    async def _known(self) -> dict[int, str]:
        rows: Iterable[Any] = await self._connection.fetch(statement("rehearsal", "relations"), self._schema)
        return {row["oid"]: row["name"] for row in rows}

    async def _drops(self) -> int:
        count: int = await self._connection.fetchval(statement("rehearsal", "drops"))
        return count

    async def _send(self, sql: str) -> None:
        await self._connection.execute(sql, timeout=NO_TIMEOUT_S)


def _may_drop(one: Statement, reach: Reach) -> bool:
    """Whether the statement may drop what it does not name."""
    return reach is Reach.OPEN and one.traits.kind not in _REBUILDING


def _ran(
    migration: ParsedMigration, one: Statement, kind: str, milliseconds: float, locks: tuple[TakenLock, ...] | None
) -> StatementRehearsal:
    line, column = migration.position(one.start)
    return StatementRehearsal(one.number, kind, line, column, milliseconds, locks)


def _skipped(migration: ParsedMigration, one: Statement, kind: str, reason: str) -> StatementRehearsal:
    line, column = migration.position(one.start)
    return StatementRehearsal(one.number, kind, line, column, 0.0, None, reason)
