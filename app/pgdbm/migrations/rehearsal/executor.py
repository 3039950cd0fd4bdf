"""Runs files in the scratch schema of a rehearsal, and decides which of them are committed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import asyncpg

from ...core.asyncpg_errors import is_lost
from ...errors import MigrationFileError
from ...pgparse.first_words import recognize
from ...pgparse.labels import label_of
from ...pgparse.lock_levels import locks_of
from ...pgparse.lock_modes import LockMode
from ...pgparse.tree import statement_node
from ...sql import statement
from ..engine.copy_rows import send_statement
from ..engine.execution_errors import execution_error, offset_of
from ..engine.script import clean_session
from ..engine.session import NO_TIMEOUT_S, as_role
from .effects import Effects, effects_of
from .observation import with_held_times
from .observer import Observer, Seen
from .results import Failure, StatementRehearsal

if TYPE_CHECKING:
    from ...core.connection import Connection
    from ...pgparse.lock_modes import StatementLock
    from ...pgparse.tree import Node
    from ..sources.parser import ParsedFile, ParsedMigration
    from ..sources.statements import Statement
    from .results import FileRehearsal

_NOT_UNDONE = {
    "2D000": "it commits by itself, so its effects could not be undone",
    "25001": "it cannot run in a transaction, so its effects could not be undone",
}
# The object already exists: a schema, a relation, another object, a column, a function.
_ALREADY_EXISTS = ("42P06", "42P07", "42710", "42701", "42723")
# PostgreSQL itself creates and drops a table to run these.
_REBUILDING = ("create_table_as_stmt", "refresh_mat_view_stmt")
_DROPPED = "it dropped an object, and it cannot be determined which one"


class StatementFailedError(Exception):
    """A statement failed."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class SessionLostError(Exception):
    """The connection was lost while ``running`` ran, or outside the statements of the file, if that is None."""

    def __init__(
        self, error: asyncpg.PostgresError, migration: ParsedMigration, running: Statement | None, *, replaying: bool
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.migration = migration
        self.running = running
        self.replaying = replaying


class RehearsalStoppedError(Exception):
    """The rest of the rehearsal would block other sessions, or cannot run."""


class Profile(NamedTuple):
    """What is known of a statement from its text, before it runs."""

    label: str
    effects: Effects
    locks: tuple[StatementLock, ...]


@dataclass(frozen=True, slots=True)
class RehearsedFile:
    """A file with a profile for each of its statements. ``measured`` False: a file from the history."""

    migration: ParsedMigration
    profiles: tuple[Profile, ...]
    measured: bool

    @classmethod
    def of(cls, file: ParsedFile, schema: str, server_version: int, *, measured: bool) -> RehearsedFile:
        """``file`` as it will run in ``schema``."""
        profiles = tuple(
            Profile(
                _label(tree, file.migration.text_of(one)),
                effects_of(tree, schema),
                () if tree is None else locks_of(*statement_node(tree), server_version),
            )
            for one, tree in zip(file.migration.statements, file.trees, strict=True)
        )
        return cls(file.migration, profiles, measured)


def _label(tree: Node | None, text: str) -> str:
    if tree is not None:
        return label_of(*statement_node(tree))
    known = recognize(text)
    return "unknown" if known is None else known.label


class RehearsalExecutor:
    """Runs files over one connection in ``schema``, which stands for ``real``, as ``role`` if there is one."""

    def __init__(
        self, connection: Connection, schema: str, real: str, role: str | None, settings: tuple[str, str | None]
    ) -> None:
        self._connection = connection
        self._schema = schema
        self._real = real
        self._role = role
        self._settings = settings
        self._observer = Observer(connection, schema, real)
        self.uncommitted_since: str | None = None
        """The first file that was not committed; no later one is."""

    async def set_up(self) -> None:
        """Apply the settings that every statement runs with to the session."""
        await self._connection.execute(statement("rehearsal", "settings"), *self._settings)

    async def roll_back(self) -> None:
        if self._connection.is_in_transaction():
            await self._send("ROLLBACK")

    async def run(self, rehearsed: RehearsedFile, file: FileRehearsal) -> None:
        """Run ``rehearsed`` and add what it did to ``file``; its locks only if it is measured.

        Raises:
            StatementFailedError: a statement failed; nothing from the file is kept.
            RehearsalStoppedError: its locks would block other sessions for the rest of the rehearsal.
        """
        migration, measured = rehearsed.migration, rehearsed.measured
        started = time.perf_counter()
        if migration.transactional:
            try:
                await self._in_transaction(migration, file, rehearsed.profiles, measured)
            finally:
                file.statements = with_held_times(file.statements)
        else:
            await self._by_statement(migration, file, rehearsed.profiles, measured)
        file.milliseconds = (time.perf_counter() - started) * 1000
        if self._leaves_traces(migration):
            # Advisory locks stay: one marks the schema as in use.
            await self._send(clean_session(deallocate=migration.may_prepare, release_locks=False))
            await self.set_up()

    def _leaves_traces(self, migration: ParsedMigration) -> bool:
        return migration.changes_session or self._role is not None

    async def _in_transaction(
        self, migration: ParsedMigration, file: FileRehearsal, profiles: tuple[Profile, ...], measured: bool
    ) -> None:
        if self.uncommitted_since is None:
            await self._send("BEGIN")
        watch = await self._observer.watch() if measured else None
        dropped: str | None = None
        async with as_role(self._connection, self._role):
            for one, profile in zip(migration.statements, profiles, strict=True):
                may_drop = _may_drop(one, profile.effects)
                drops = await self._observer.drops() if may_drop else 0
                milliseconds = await self._execute(migration, one, measured)
                if may_drop and await self._observer.drops() != drops:
                    dropped = _DROPPED
                seen = Seen() if watch is None else await self._observer.see(watch, profile.locks)
                file.statements.append(_ran(migration, one, profile.label, milliseconds, seen))
            # A commit checks deferred constraints, but there may be no commit. As the module's role, whose functions
            # they may call.
            await self._check_deferred(migration, measured)
        if self._leaves_traces(migration):
            await self._send(statement("runner", "own_path"))
        if self.uncommitted_since is None:
            effects = max((profile.effects for profile in profiles), default=Effects.INSIDE)
            beyond = dropped or await self._beyond(effects)
            if beyond is None:
                await self._commit(migration, measured)
                return
            self.uncommitted_since = migration.filename
            file.note = f"not committed: {beyond}"
        else:
            file.note = f"not committed, because {self.uncommitted_since} was not"
        await self._stop_if_blocking(migration)

    async def _by_statement(
        self, migration: ParsedMigration, file: FileRehearsal, profiles: tuple[Profile, ...], measured: bool
    ) -> None:
        if self.uncommitted_since is not None:
            raise RehearsalStoppedError(
                f"{migration.filename} runs outside a transaction and needs what {self.uncommitted_since} did, which "
                f"reaches beyond the schema and was not committed."
            )
        for one, profile in zip(migration.statements, profiles, strict=True):
            if one.traits.controls_transaction:
                reason = "every statement is rehearsed in its own transaction"
                file.statements.append(_skipped(migration, one, profile.label, reason))
            elif one.traits.non_transactional is None and not (
                one.traits.may_refuse_transaction and profile.effects is Effects.INSIDE
            ):
                await self._alone(migration, one, file, profile, measured)
            elif profile.effects is Effects.INSIDE:
                watch = await self._observer.watch()
                async with as_role(self._connection, self._role, of_session=True):
                    milliseconds = await self._execute(migration, one, measured)
                seen = await self._observer.see_without_locks(watch)
                file.statements.append(_ran(migration, one, profile.label, milliseconds, seen))
            else:
                reason = "it reaches beyond the schema and cannot be undone"
                file.statements.append(_skipped(migration, one, profile.label, reason))

    async def _alone(
        self, migration: ParsedMigration, one: Statement, file: FileRehearsal, profile: Profile, measured: bool
    ) -> None:
        """Execute one statement of a no-transaction file in a transaction that is rolled back."""
        await self._send("BEGIN")
        watch = await self._observer.watch()
        drops = await self._observer.drops()
        try:
            async with as_role(self._connection, self._role):
                milliseconds = await self._execute(migration, one, measured)
                await self._check_deferred(migration, measured)
            await self._send(statement("runner", "own_path"))
        except StatementFailedError as failed:
            reason = _NOT_UNDONE.get(failed.failure.sqlstate or "")
            if reason is None:
                raise
            await self.roll_back()
            file.statements.append(_skipped(migration, one, profile.label, reason))
            return
        seen = await self._observer.see(watch, profile.locks)
        beyond = await self._beyond(profile.effects)
        if beyond is None and _may_drop(one, profile.effects) and await self._observer.drops() != drops:
            beyond = _DROPPED
        if beyond is None:
            await self._commit(migration, measured)
        else:
            await self.roll_back()
            file.note = f"statement {one.number} was undone: {beyond}"
        file.statements += with_held_times([_ran(migration, one, profile.label, milliseconds, seen)])

    async def _execute(self, migration: ParsedMigration, one: Statement, measured: bool) -> float:
        """Milliseconds that the statement took."""
        started = time.perf_counter()
        try:
            if migration.backfill is not None and one.number == 1:
                await self._backfill(migration)
            else:
                await send_statement(self._connection, migration, one, NO_TIMEOUT_S)
        except asyncpg.PostgresError as error:
            await self._fail(error, migration, one, measured)
        return (time.perf_counter() - started) * 1000

    async def _backfill(self, migration: ParsedMigration) -> None:
        from ..engine.backfilling import in_one_batch  # imported lazily: few modules have a backfill

        try:
            text = await in_one_batch(self._connection, migration)
        except MigrationFileError as error:
            raise RehearsalStoppedError(str(error)) from None
        await self._send(text or migration.text_without_rows(migration.statements[0]))

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
            raise SessionLostError(error, migration, one, replaying=not measured) from error
        await self.roll_back()
        located = execution_error(error, migration, one, offset_of(error))
        raise StatementFailedError(
            Failure(
                filename=migration.filename,
                statement=located.statement,
                line=located.line,
                column=located.column,
                sqlstate=located.sqlstate,
                message=located.sql_error or "",
                detail=located.detail,
                hint=located.hint or self._schema_hint(migration, located.sqlstate),
                replaying=not measured,
            )
        ) from error

    def _schema_hint(self, migration: ParsedMigration, sqlstate: str | None) -> str | None:
        """What to do if a file, such as the output of pg_dump, names the real schema, where the objects already
        exist."""
        if sqlstate not in _ALREADY_EXISTS or self._real not in migration.rendered.source:
            return None
        return (
            f"A rehearsal runs in a schema of its own, but the file names {self._real} itself. Write {{{{schema}}}} "
            f"instead; `pgdbm migrate baseline --no-check` needs no rehearsal."
        )

    async def _beyond(self, effects: Effects) -> str | None:
        """What the open transaction did beyond the schema, in words; None if nothing."""
        if effects is Effects.OUTSIDE:
            return "it reaches beyond the schema"
        # A foreign key takes SHARE ROW EXCLUSIVE on the table that it refers to, and is dropped with the schema.
        allowed = (LockMode.SHARE_ROW_EXCLUSIVE,) if effects is Effects.INSIDE else ()
        for (_, mode), (schema, name, _) in (await self._observer.held()).items():
            if self._observer.is_outside(schema) and mode > LockMode.ROW_SHARE and mode not in allowed:
                return f"it changes {schema}.{name} ({mode.sql})"
        if effects is Effects.UNCERTAIN:
            trace = await self._connection.fetchval(statement("rehearsal", "traces"), self._schema)
            return None if trace is None else f"it changes {trace}"
        return None

    async def _stop_if_blocking(self, migration: ParsedMigration) -> None:
        for (_, mode), (schema, name, _) in (await self._observer.held()).items():
            if self._observer.is_outside(schema) and mode >= LockMode.SHARE:
                await self.roll_back()
                raise RehearsalStoppedError(
                    f"{migration.filename} takes {mode.sql} on {schema}.{name} and could not be committed: continuing "
                    f"would block that table until the end of the rehearsal."
                )

    async def _send(self, sql: str) -> None:
        await self._connection.execute(sql, timeout=NO_TIMEOUT_S)


def _may_drop(one: Statement, effects: Effects) -> bool:
    """Whether the statement may drop objects that it does not name."""
    return effects is Effects.UNCERTAIN and one.traits.kind not in _REBUILDING


def _ran(migration: ParsedMigration, one: Statement, kind: str, milliseconds: float, seen: Seen) -> StatementRehearsal:
    line, column = migration.position(one.start)
    return StatementRehearsal(
        one.number,
        kind,
        line,
        column,
        milliseconds,
        seen.locks,
        predicted=seen.predicted,
        rewritten=seen.rewritten,
        wal_bytes=seen.wal_bytes,
    )


def _skipped(migration: ParsedMigration, one: Statement, kind: str, reason: str) -> StatementRehearsal:
    line, column = migration.position(one.start)
    return StatementRehearsal(one.number, kind, line, column, 0.0, None, reason)
