"""The tools whose history can be read, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

from ...errors import ConfigurationError
from . import (
    alembic,
    dbmate,
    django,
    drizzle,
    flyway,
    golang_migrate,
    goose,
    knex,
    liquibase,
    node_pg_migrate,
    prisma,
    sqitch,
    supabase,
    yoyo,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...core.connection import Connection, Row
    from ..sources.migration import Migration
    from .records import ToolHistory
    from .rewrite import Converted

ToolName = Literal[
    "alembic",
    "dbmate",
    "django",
    "drizzle",
    "flyway",
    "golang-migrate",
    "goose",
    "knex",
    "liquibase",
    "node-pg-migrate",
    "prisma",
    "sqitch",
    "supabase",
    "yoyo",
]


class Tool(Protocol):
    """What each tool's module provides."""

    TABLE: str
    """The default name of the tool's table."""

    SCHEMA: str | None
    """The schema in which the tool always keeps its table; None: wherever it migrates."""

    COLUMNS: frozenset[str]
    """Columns that distinguish the tool's table from another table with that name."""

    async def read(self, connection: Connection, schema: str, table: str) -> Sequence[Row]:
        """The rows of the tool's table, oldest first."""
        ...

    def match(self, rows: Sequence[Row], migrations: Sequence[Migration]) -> ToolHistory:
        """The ``migrations`` (in order) that are applied according to the rows. Pure; raises ImportRefusedError."""
        ...

    def convert(self, files: Mapping[str, str]) -> Converted:
        """The files for pgdbm that correspond to the tool's files, {path below its folder: text}. Pure."""
        ...


TOOLS: dict[ToolName, Tool] = {
    "alembic": alembic,
    "dbmate": dbmate,
    "django": django,
    "drizzle": drizzle,
    "flyway": flyway,
    "golang-migrate": golang_migrate,
    "goose": goose,
    "knex": knex,
    "liquibase": liquibase,
    "node-pg-migrate": node_pg_migrate,
    "prisma": prisma,
    "sqitch": sqitch,
    "supabase": supabase,
    "yoyo": yoyo,
}


def tool_of(name: str) -> Tool:
    """The tool called ``name``.

    Raises:
        ConfigurationError: ``name`` is not one of TOOLS.
    """
    for known, tool in TOOLS.items():
        if known == name:
            return tool
    raise ConfigurationError(f"There is no importer for {name!r}; choose one of {', '.join(TOOLS)}.", "tool")
