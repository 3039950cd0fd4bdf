"""Finds out which tools have migrated a database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...core.asyncpg_errors import FAILURES
from ...sql import statement
from .history_import import OUR_COLUMNS
from .tools import TOOLS

if TYPE_CHECKING:
    from ...core.manager import AsyncDatabaseManager
    from .tools import ToolName


@dataclass(frozen=True, slots=True)
class DetectedTool:
    """A tool, and its table."""

    tool: ToolName
    schema: str
    table: str


async def detect(db: AsyncDatabaseManager) -> tuple[DetectedTool, ...]:
    """The tools whose tables are in the database, in any schema, by their default names.

    Tables with the same name are distinguished by their columns. Only the catalog is read.
    """
    try:
        async with db.acquire() as connection:
            rows = await connection.fetch(
                statement("importers", "tables_of_tools"), sorted({tool.TABLE for tool in TOOLS.values()})
            )
    except FAILURES as error:
        raise db.failure(error, "detect the tools that migrated the database", ()) from error
    detected: list[DetectedTool] = []
    for row in rows:
        tool = _tool_of(row["name"], frozenset(row["columns"]))
        if tool is not None:
            detected.append(DetectedTool(tool, row["schema"], row["name"]))
    return tuple(detected)


def _tool_of(table: str, columns: frozenset[str]) -> ToolName | None:
    """The tool with the most columns in the table; None for a table of pgdbm or of another program."""
    if columns >= OUR_COLUMNS:
        return None
    found: ToolName | None = None
    most = 0
    for name, tool in TOOLS.items():
        if table == tool.TABLE and columns >= tool.COLUMNS and len(tool.COLUMNS) > most:
            found, most = name, len(tool.COLUMNS)
    return found
