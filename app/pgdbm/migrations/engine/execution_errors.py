"""The server's error about a statement, with file, statement, line and column. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import asyncpg

from ...errors import MigrationError, MigrationExecutionError
from ...patterns import late_pattern
from ...text import bounded
from ..state.history import FOREIGN_TABLE
from .advice import READ_ONLY_SERVER
from .copy_rows import failed_row
from .script import ALREADY_APPLIED, LOCK_HELD

if TYPE_CHECKING:
    from ..sources.parser import ParsedMigration
    from ..sources.statements import Statement

_INLINE_LINE = late_pattern(r"inline_code_block\b\D*?(\d+)")
_PLAIN_BODY = late_pattern(r"do\s+(?:language\s+\S+\s+)?'", re.IGNORECASE)
_DOLLAR_QUOTE = late_pattern(r"\$(?:[^\W\d]\w*)?\$")


class LockHeldError(Exception):
    """Another runner has the lock."""


class AlreadyAppliedError(Exception):
    """Another runner applied the migration, or changed the history of a given plan, after this one read the history."""


class HistoryLostError(Exception):
    """The history table is gone, and the run has neither applied nor skipped anything: a crash has undone the table's
    creation."""


def raise_if_refused(error: asyncpg.PostgresError) -> None:
    """Raise the error that one of pgdbm's own statements reported, if it was not a statement of the file."""
    if not isinstance(error, asyncpg.InvalidTextRepresentationError):
        return
    if LOCK_HELD in str(error):
        raise LockHeldError from error
    if ALREADY_APPLIED in str(error):
        raise AlreadyAppliedError from error
    if FOREIGN_TABLE in str(error):
        raise MigrationError(
            "The history table is not a plain table of the connecting user: it belongs to the role of the module, or a "
            "row security policy or a view is in its place. Nothing was written to it. Change its owner to the "
            "connecting user: ALTER TABLE … OWNER TO …."
        ) from error


def offset_of(error: asyncpg.PostgresError) -> int:
    """The position, in the text that was sent, that the server reports, counted from 0; 0 if it reports none."""
    return int(error.position) - 1 if error.position else 0


def located(
    error: asyncpg.PostgresError, migration: ParsedMigration, offset: int, advice: str = ""
) -> MigrationExecutionError:
    """The error at ``offset`` in the rendered text of ``migration``."""
    for candidate in migration.statements:
        if candidate.start <= offset <= candidate.end:
            return execution_error(error, migration, candidate, offset - candidate.start, advice)
    return execution_error(error, migration, None, offset, advice)


def execution_error(
    error: asyncpg.PostgresError,
    migration: ParsedMigration,
    running: Statement | None,
    offset: int,
    advice: str = "",
    *,
    stage: str = "",
    resumes_at: int | None = None,
) -> MigrationExecutionError:
    """The error at ``offset`` in the text of ``running``; None if it was not one of the file's statements.

    ``advice``: what to do. ``stage``: what failed, if it was not one of the file's statements. ``resumes_at``: where
    the next run resumes a file without a transaction, if not at ``running``.
    """
    message, where = bounded(str(error.args[0] if error.args else error)), migration.filename
    line = column = number = None
    if running is not None:
        number = running.number
        line, column = failed_row(error, running) or _position(error, migration, running, offset)
        where = f"{migration.filename}:{line}:{column}: statement {number}"
    first = f"{where}: {message} (SQLSTATE {error.sqlstate})"
    texts = {"Detail": error.detail, "Query": error.internal_query, "Context": error.context}
    rest = [stage] if stage else []
    if migration.transactional:
        rest.append("The file was rolled back.")
    elif (resumes_at or number or 1) > 1:
        resumes_at = resumes_at or number or 1
        rest.append(
            f"Statements 1 to {resumes_at - 1} of this file ran outside a transaction and remain applied. "
            f"The next run resumes at statement {resumes_at}."
        )
    failure = MigrationExecutionError(
        "\n".join([first, *(f"{label}: {bounded(text)}" for label, text in texts.items() if text), *rest]),
        migration.filename,
        statement=number,
        line=line,
        column=column,
        sqlstate=error.sqlstate,
        sql_error=message,
        detail=bounded(error.detail) if error.detail else None,
        hint=" ".join(filter(None, (bounded(_hint_of(error)), advice))) or None,
        context="\n".join(bounded(text) for text in (error.internal_query, error.context) if text) or None,
        transactional=migration.transactional,
        summary="\n".join([first, *rest]),
    )
    failure.read_only_server = advice == READ_ONLY_SERVER
    return failure


def _hint_of(error: asyncpg.PostgresError) -> str:
    # asyncpg adds this to errors about prepared statements; a file's are not asyncpg's.
    return (error.hint or "").partition("NOTE: pgbouncer")[0].strip()


def _position(
    error: asyncpg.PostgresError, migration: ParsedMigration, running: Statement, offset: int
) -> tuple[int, int]:
    """Line and column in the file; inside the body of a DO block, as PL/pgSQL reports them."""
    inline = _INLINE_LINE.findall(error.context or "") if not error.position else []
    text = migration.text_of(running)
    body = _PLAIN_BODY.match(text) or _DOLLAR_QUOTE.search(text)
    if not inline or body is None:
        return migration.position(min(running.start + max(offset, 0), running.end))
    # The last frame is the outermost. PL/pgSQL counts the line with the opening quote as the first.
    lines = text[body.end() :].split("\n")
    index = min(int(inline[-1]), len(lines)) - 1
    before = sum(len(one) + 1 for one in lines[:index])
    indent = len(lines[index]) - len(lines[index].lstrip())
    return migration.position(min(running.start + body.end() + before + indent, running.end))
