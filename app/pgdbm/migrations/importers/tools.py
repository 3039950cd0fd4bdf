"""The tools whose history can be read, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

from ...errors import ConfigurationError
from . import alembic, dbmate, flyway, golang_migrate, yoyo

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..files import Migration
    from .reading import Reading
    from .rewriting import Converted

ToolName = Literal["alembic", "dbmate", "flyway", "golang-migrate", "yoyo"]


class Tool(Protocol):
    """What the module of each tool has."""

    TABLE: str
    """The name of the tool's table where nobody chose another."""

    COLUMNS: frozenset[str]
    """Columns that tell the tool's table from another one of that name."""

    async def read(self, connection: Any, schema: str, table: str) -> Sequence[Mapping[str, Any]]:
        """The rows of the tool's table, oldest first."""
        ...

    def match(self, rows: Sequence[Mapping[str, Any]], migrations: Sequence[Migration]) -> Reading:
        """Which of ``migrations`` (in order) the rows say are applied. Pure; raises ImportRefusedError."""
        ...

    def convert(self, files: Mapping[str, str]) -> Converted:
        """Our files for the tool's: {path below its folder: text}. Pure."""
        ...


TOOLS: dict[ToolName, Tool] = {
    "alembic": alembic,
    "dbmate": dbmate,
    "flyway": flyway,
    "golang-migrate": golang_migrate,
    "yoyo": yoyo,
}


def tool_of(name: str) -> Tool:
    """The tool called ``name``.

    Raises:
        ConfigurationError: it is none of TOOLS.
    """
    for known, tool in TOOLS.items():
        if known == name:
            return tool
    raise ConfigurationError(f"There is no importer for {name!r}; choose one of {', '.join(TOOLS)}.", "tool")
