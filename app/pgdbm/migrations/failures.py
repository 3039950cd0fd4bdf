"""What the server says about a statement, as an error that names file, statement, line and column."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import asyncpg

from ..errors import MigrationExecutionError
from .message import ALREADY_APPLIED, LOCK_HELD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .parser import ParsedMigration, Statement

RETRYABLE = ("55P03", "40P01")
"""lock_not_available and deadlock_detected: somebody else's work was in the way, and may be gone in a moment."""

_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 15.0


class LockHeldError(Exception):
    """Another runner has the lock."""


class AlreadyAppliedError(Exception):
    """Another runner applied the migration since the history was read."""


def raise_if_refused(error: asyncpg.PostgresError) -> None:
    """Tell the errors that our own statements ask for from those of the author's."""
    if isinstance(error, asyncpg.InvalidTextRepresentationError):
        if LOCK_HELD in str(error):
            raise LockHeldError from error
        if ALREADY_APPLIED in str(error):
            raise AlreadyAppliedError from error


def offset_of(error: asyncpg.PostgresError) -> int:
    """Where in the text that was sent the server points at, from 0; 0 where it does not say."""
    return int(error.position) - 1 if error.position else 0


def retry_pauses() -> Iterator[float]:
    """Seconds between attempts: from 250 ms, doubling up to 15 s, each with jitter. Never ends."""
    pause = _FIRST_PAUSE_S
    while True:
        yield pause * random.uniform(0.5, 1.0)  # noqa: S311 - spreads attempts out; no secret depends on it
        pause = min(pause * 2, _LONGEST_PAUSE_S)


def located(error: asyncpg.PostgresError, migration: ParsedMigration, offset: int) -> MigrationExecutionError:
    """The error for a place in the rendered text of ``migration``."""
    for candidate in migration.statements:
        if candidate.start <= offset <= candidate.end:
            return execution_error(error, migration, candidate, offset - candidate.start)
    return execution_error(error, migration, None, offset)


def execution_error(
    error: asyncpg.PostgresError,
    migration: ParsedMigration,
    running: Statement | None,
    offset: int,
    otherwise: str = "",
) -> MigrationExecutionError:
    """The error for ``offset`` in the text of ``running``; None means that it was not a statement of the file's, and
    ``otherwise`` says what it was."""
    message, where = str(error.args[0] if error.args else error), migration.filename
    line = column = number = None
    if running is not None:
        number = running.number
        line, column = migration.position(min(running.start + max(offset, 0), running.end))
        where = f"{migration.filename}:{line}:{column}: statement {number}"
    parts = [f"{where}: {message} (SQLSTATE {error.sqlstate})"]
    for label, text in (("Detail", error.detail), ("Hint", error.hint), ("Context", error.context)):
        if text:
            parts.append(f"{label}: {text}")
    if otherwise:
        parts.append(otherwise)
    if migration.transactional:
        parts.append("Nothing of this file was kept.")
    elif number is not None and number > 1:
        parts.append(
            f"Statements 1 to {number - 1} of this file ran outside a transaction and stay done; "
            f"the next run goes on at statement {number}."
        )
    return MigrationExecutionError(
        "\n".join(parts),
        migration.filename,
        statement=number,
        line=line,
        column=column,
        sqlstate=error.sqlstate,
        sql_error=message,
        detail=error.detail,
        hint=error.hint,
        transactional=migration.transactional,
    )
