"""Sends a statement, and the rows of a COPY … FROM stdin with the COPY protocol."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ...patterns import late_pattern

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

    from ..sources.parser import ParsedMigration
    from ..sources.psql_scripts import CopyData
    from ..sources.statements import Statement

_CHUNK = 64 * 1024
_LINE = late_pattern(r"^COPY .*, line (\d+)", re.MULTILINE)


async def send_statement(connection: Any, migration: ParsedMigration, statement: Statement, timeout: float) -> None:
    """Run ``statement`` of ``migration``, with its rows if it has any; the statement of a backfill runs for no rows.

    ``timeout`` is in seconds.
    """
    text = migration.text_without_rows(statement)
    if statement.traits.is_opaque:
        await require_one_statement(connection, text, timeout)
    if statement.copy_data is None:
        await connection.execute(text, timeout=timeout)
    else:
        # asyncpg's public methods generate the COPY statement, and do not support all of its options.
        await connection._copy_in(text, _chunks(statement.copy_data), timeout)  # noqa: SLF001


async def require_one_statement(connection: Any, text: str, timeout: float) -> None:
    """Let the server parse, but not execute, ``text``, which pgdbm has only cut out of a file.

    A prepared statement contains exactly one statement, so no unchecked one, such as a COMMIT, can follow. Raises
    asyncpg.PostgresError: it is not a single statement, or it is invalid.
    """
    await connection.prepare(text, name="", timeout=timeout)


async def _chunks(data: CopyData) -> AsyncIterator[bytes]:
    for start in range(0, len(data.text), _CHUNK):
        yield data.text[start : start + _CHUNK].encode()


def failed_row(error: asyncpg.PostgresError, statement: Statement) -> tuple[int, int] | None:
    """Line and column in the file of the row that COPY failed at; None if ``error`` is not about a row."""
    found = _LINE.search(error.context or "")
    return (statement.copy_data.line + int(found[1]) - 1, 1) if found and statement.copy_data is not None else None
