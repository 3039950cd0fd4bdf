"""Queries that verify a migration: those in files with ``-- pgdbm:verify``, and those below that line in a backfill."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import MigrationExecutionError
from ...text import bounded

if TYPE_CHECKING:
    from ...core.connection import Connection
    from ..sources.parser import ParsedMigration
    from ..sources.statements import Statement

_SQLSTATE = "P0004"
"""assert_failure: the SQLSTATE of a failed ASSERT in PL/pgSQL."""

_FOUND = "the query returned a row, but must return none."


async def require_no_row(connection: Connection, migration: ParsedMigration, query: Statement, timeout: float) -> None:
    """Raise MigrationExecutionError if ``query`` of ``migration`` returns a row. ``timeout``: seconds."""
    row = await connection.fetchrow(migration.text_of(query), timeout=timeout)
    if row is None:
        return
    line, column = migration.position(query.start)
    found = bounded(", ".join(f"{name}={value}" for name, value in row.items()))
    first = f"{migration.filename}:{line}:{column}: statement {query.number}: {_FOUND}"
    rest = " The file was rolled back." if migration.transactional else ""
    raise MigrationExecutionError(
        f"{first}{rest}\nDetail: {found}",
        migration.filename,
        statement=query.number,
        line=line,
        column=column,
        sqlstate=_SQLSTATE,
        sql_error=_FOUND,
        detail=found,
        transactional=migration.transactional,
        summary=f"{first}{rest}",
    )
