"""Errors of migrations."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .general import AsyncDBError, Fields, with_hint

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class MigrationError(AsyncDBError):
    """Base class of migration errors. ``code`` is stable and documented.

    ``hint``: what to do, if the message does not say so. It is the last line of the text.
    """

    code = "migration_error"
    hint: str | None = None

    def __init__(
        self,
        message: str,
        migration_file: str | None = None,
        version: str | None = None,
        sql_error: str | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message, details)
        self.migration_file = migration_file
        self.version = version
        self.sql_error = sql_error

    def __str__(self) -> str:
        return with_hint(self.message, self.hint)

    def fields(self) -> Fields:
        return {"filename": self.migration_file}


class MigrationFileError(MigrationError):
    """A migration file is invalid. Raised before anything runs.

    ``line`` and ``column`` count from 1 in the file as written. They are None if the error concerns the whole file.
    ``hint``: what to do, if the message does not say so.
    """

    code = "migration_file_invalid"

    def __init__(
        self,
        message: str,
        migration_file: str | None = None,
        *,
        line: int | None = None,
        column: int | None = None,
        hint: str | None = None,
        version: str | None = None,
    ) -> None:
        super().__init__(message, migration_file, version, details={"line": line, "column": column, "hint": hint})
        self.line = line
        self.column = column
        self.hint = hint

    def fields(self) -> Fields:
        return super().fields() | {"line": self.line, "column": self.column, "hint": self.hint}


class ChecksumMismatchError(MigrationError):
    """A file was modified after it was applied. ``recorded`` is the checksum in the history, ``current`` the file's."""

    code = "checksum_changed"

    def __init__(self, migration_file: str, recorded: str, current: str) -> None:
        super().__init__(
            f"Migration {migration_file} has been modified after being applied: "
            f"the history has checksum {recorded}, the file now has {current}. "
            f"Restore the file, and write the change as a new migration.",
            migration_file,
            details={"recorded": recorded, "current": current},
        )
        self.recorded = recorded
        self.current = current

    def fields(self) -> Fields:
        return super().fields() | {"recorded_checksum": self.recorded, "current_checksum": self.current}


class OutOfOrderError(MigrationError):
    """A pending file sorts before an applied one, and ``out_of_order`` is ``reject``.

    ``applied_as``: the name of ``newest_applied`` in the history, if the file has been renamed since.
    """

    code = "out_of_order"

    def __init__(self, migration_file: str, newest_applied: str, applied_as: str | None = None) -> None:
        again = "" if applied_as is None else f" as {applied_as}, with the same content"
        details = {"newest_applied": newest_applied}
        if applied_as is not None:
            details["applied_as"] = applied_as
        super().__init__(
            f"Migration {migration_file} is pending but sorts before {newest_applied}, which is applied{again}. "
            f"Give it a newer version, or allow it with out_of_order='allow'.",
            migration_file,
            details=details,
        )
        self.newest_applied = newest_applied
        self.applied_as = applied_as

    def fields(self) -> Fields:
        found = super().fields() | {"newest_applied": self.newest_applied}
        return found if self.applied_as is None else found | {"applied_as": self.applied_as}


class PlanRefusedError(MigrationError):
    """A pending file does more than the limits of its module allow. Nothing has run.

    ``limit`` names the limit; ``statement`` counts from 1. ``hint`` says what to do instead.
    """

    code = "plan_refused"

    def __init__(
        self,
        message: str,
        migration_file: str,
        *,
        limit: str,
        statement: int | None,
        position: tuple[int, int],
        hint: str,
    ) -> None:
        line, column = position
        details = {"limit": limit, "statement": statement, "line": line, "column": column, "hint": hint}
        super().__init__(message, migration_file, details=details)
        self.limit = limit
        self.statement = statement
        self.line = line
        self.column = column
        self.hint = hint

    def fields(self) -> Fields:
        return super().fields() | self.details


class PlanMovedError(MigrationError):
    """The pending migrations differ from the plan that may be applied. ``applied``: files of the plan that were already
    applied."""

    code = "plan_moved"

    def __init__(self, module: str, plan: str, current_plan: str, applied: Iterable[str] = ()) -> None:
        self.plan, self.current_plan, self.applied = plan, current_plan, list(applied)
        done = f"{', '.join(self.applied)} had already been applied" if self.applied else "Nothing was applied"
        super().__init__(
            f"The pending migrations of {module} differ from the plan: another runner applied some "
            f"of them, or files "
            f"were added or changed. {done}. Make a new plan, and apply that.",
            details={"plan": plan, "current_plan": current_plan},
        )

    def fields(self) -> Fields:
        return {"plan": self.plan, "current_plan": self.current_plan, "applied": self.applied}


class MigrationExecutionError(MigrationError):
    """The server rejected a statement.

    ``statement`` counts from 1 within the file. ``line`` and ``column`` count from 1 and are the position that the
    server reported, or else that of the statement. ``applied`` lists the migrations that this call applied before the
    failure; they stay applied. ``attempts`` counts the attempts at the migration, lock timeouts included. ``detail``
    and ``context`` are the server's: they may contain values from the SQL and from tables. ``summary`` is the message
    without them. ``hint`` is the server's, plus what pgdbm knows about the error. ``read_only_server``: the server
    accepts no writes, whatever the file contains: it is a standby, or default_transaction_read_only is on.

    After a lock timeout or a deadlock, ``blockers`` are the sessions that last blocked a statement, as in the event
    ``blocked``, and ``waited_s`` is the time in seconds that all attempts took.
    """

    code = "migration_failed"

    def __init__(
        self,
        message: str,
        migration_file: str,
        *,
        statement: int | None = None,
        line: int | None = None,
        column: int | None = None,
        sqlstate: str | None = None,
        sql_error: str | None = None,
        detail: str | None = None,
        hint: str | None = None,
        context: str | None = None,
        transactional: bool = True,
        summary: str | None = None,
    ) -> None:
        where = {"statement": statement, "line": line, "column": column}
        details = {**where, "sqlstate": sqlstate, "detail": detail, "hint": hint}
        super().__init__(message, migration_file, sql_error=sql_error, details=details)
        self.statement = statement
        self.line = line
        self.column = column
        self.sqlstate = sqlstate
        self.detail = detail
        self.hint = hint
        self.context = context
        self.transactional = transactional
        self.summary = message if summary is None else summary
        self.applied: list[Fields] = []
        self.attempts = 1
        self.blockers: list[Fields] = []
        self.waited_s: float | None = None
        self.read_only_server = False

    def add_blockers(self, blockers: Sequence[Mapping[str, Any]], waited_s: float) -> None:
        """Add the blocking sessions. The message names the sessions without their queries, which may contain values."""
        self.blockers = [dict(one) for one in blockers]
        self.waited_s = waited_s
        lines = [f"It was tried {'once' if self.attempts == 1 else f'{self.attempts} times'} in {waited_s:.1f} s."]
        lines += [_blocker_line(one) for one in blockers[:_MOST_SHOWN_BLOCKERS]]
        self.message = "\n".join([self.message, *lines])
        self.summary = "\n".join([self.summary, *lines])

    def fields(self) -> Fields:
        waits: Fields = {}
        if self.waited_s is not None:
            waited_s = round(self.waited_s, 1)
            waits = {"attempts": self.attempts, "waited_s": waited_s, "waiting_for": self.blockers or None}
        return super().fields() | {
            "statement": self.statement,
            "line": self.line,
            "column": self.column,
            "sqlstate": self.sqlstate,
            "database_message": self.sql_error,
            "database_detail": self.detail,
            "database_context": self.context,
            "hint": self.hint,
            "applied": self.applied,
            **waits,
        }


_MOST_SHOWN_BLOCKERS = 5


def _blocker_line(blocker: Mapping[str, Any]) -> str:
    who = ", ".join(str(blocker[name]) for name in ("application_name", "user", "state") if blocker.get(name))
    age = blocker.get("transaction_age_s")
    since = "" if age is None else f", in a transaction that began {age:.0f} s ago,"
    wanted = f" of {blocker['mode']} on {blocker['relation']}" if blocker.get("relation") else ""
    return f"Process {blocker['pid']} ({who}){since} blocked the request{wanted} by process {blocker['blocks']}."


class BaselineMismatchError(MigrationError):
    """The schema differs from the one that the migrations skipped by a baseline would build.

    In each of ``changes``, ``before`` is what the files would build, and ``after`` what is in the schema.
    """

    code = "baseline_mismatch"

    def __init__(self, message: str, changes: Sequence[Any]) -> None:
        super().__init__(message, details={"changes": [(one.kind, one.object_kind, one.name) for one in changes]})
        self.changes = tuple(changes)

    def fields(self) -> Fields:
        return super().fields() | {"changes": [asdict(change) for change in self.changes]}


class MigrationUnknownError(MigrationError):
    """A runner died while a non-transactional statement ran, and the catalog does not show whether it took effect.

    Check the database, record the outcome with ``resolve_statement(filename, statement, done=...)``, and run again.
    """

    code = "outcome_unknown"

    def __init__(
        self,
        message: str,
        migration_file: str,
        *,
        statement: int | None = None,
        line: int | None = None,
        column: int | None = None,
    ) -> None:
        super().__init__(message, migration_file, details={"statement": statement, "line": line, "column": column})
        self.statement = statement
        self.line = line
        self.column = column

    def fields(self) -> Fields:
        return super().fields() | {"statement": self.statement, "line": self.line, "column": self.column}


class MigrationLockTimeoutError(MigrationError):
    """Another runner held the migration lock for longer than the lock wait timeout.

    ``waited_s`` is in seconds. ``holder`` has pid, application_name, user, client, state, query and since; None if the
    server did not report it.
    """

    code = "lock_timeout"

    def __init__(self, message: str, *, waited_s: float, holder: Fields | None) -> None:
        super().__init__(message, details={"waited_s": waited_s, "holder": dict(holder) if holder else None})
        self.waited_s = waited_s
        self.holder = holder

    def fields(self) -> Fields:
        holder = dict(self.holder) if self.holder else None
        return super().fields() | {"waited_s": round(self.waited_s, 1), "holder": holder}
