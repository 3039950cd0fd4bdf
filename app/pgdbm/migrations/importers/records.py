"""The result of reading another tool's history: the files that it has applied, or why they cannot be determined."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ...core.templating import quote
from ...errors import MigrationError
from ...sql import statement

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from ...core.connection import Connection, Row
    from ..sources.migration import Migration


Reason = Literal["no_history", "table_taken", "failed", "checksum", "unconverted", "unknown_revision"]

_MOST_NAMES = 5


class ImportRefusedError(MigrationError):
    """The history of another tool cannot be imported. Nothing was written.

    ``reason`` is one of Reason; ``files`` are the files concerned, or the tool's own names for what it applied.
    """

    code = "import_refused"

    def __init__(self, message: str, reason: Reason, files: Iterable[str] = ()) -> None:
        names = tuple(files)
        is_of_file = bool(names) and reason in ("checksum", "unconverted")
        super().__init__(message, names[0] if is_of_file else None, details={"reason": reason, "files": names})
        self.reason = reason
        self.files = names


@dataclass(frozen=True, slots=True)
class Record:
    """A file that the tool has applied. None: the tool does not record it."""

    migration: Migration
    applied_at: datetime | None = None
    applied_by: str | None = None
    execution_time_ms: int | None = None


@dataclass(frozen=True, slots=True)
class ToolHistory:
    """A tool's history in terms of pgdbm's files. ``records`` come in the order in which the tool applied them."""

    records: tuple[Record, ...] = ()
    unmatched: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    checked: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


async def rows_of(connection: Connection, name: str, schema: str, table: str) -> Sequence[Row]:
    """The rows of a tool's ``table``, by the statement ``name`` of ``importers.sql``."""
    return await connection.fetch(statement("importers", name, source=f"{quote(schema)}.{quote(table)}"))


def some_of(names: Iterable[str]) -> str:
    """``names`` for a message: the first few of them, and how many more there are."""
    every = list(names)
    shown = ", ".join(every[:_MOST_NAMES])
    return shown if len(every) <= _MOST_NAMES else f"{shown} and {len(every) - _MOST_NAMES} more"


def unconverted(tool: str, names: Iterable[str], why: str) -> ImportRefusedError:
    """The error for files that the engine would execute incorrectly."""
    files = tuple(names)
    return ImportRefusedError(
        f"{some_of(files)}: {why} Write files for pgdbm with convert({tool!r}, folder, new_folder), or with "
        f"`pgdbm migrate convert --from {tool}`, and import those.",
        "unconverted",
        files,
    )


def changed_since(tool: str, names: Iterable[str], acceptance: str) -> ImportRefusedError:
    """The error for files whose content is not what the tool applied. ``acceptance``: how to accept a change."""
    files = tuple(names)
    return ImportRefusedError(
        f"{some_of(files)}: this is not the content that {tool} applied; the checksum differs. Put the "
        f"file back as it was and "
        f"write the change as a new migration. If the change is known to be harmless, {acceptance}.",
        "checksum",
        files,
    )
