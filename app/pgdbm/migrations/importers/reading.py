"""What reading another tool's history ends in: the files that it has applied, or why they cannot be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ...errors import MigrationError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from ..files import Migration

Reason = Literal["no_history", "table_taken", "failed", "checksum", "unconverted", "unknown_revision"]

_MOST_NAMES = 5


class ImportRefusedError(MigrationError):
    """The history of another tool cannot be taken over as it is. Nothing was written.

    ``reason`` is one of Reason, ``files`` what it is about: files, or the tool's own names for what it applied.
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
    """A file that the tool has applied. None is what the tool does not keep."""

    migration: Migration
    applied_at: datetime | None = None
    applied_by: str | None = None
    execution_time_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What a tool's history says of our files. ``records`` come in the order in which the tool applied them."""

    records: tuple[Record, ...] = ()
    unmatched: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    checked: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def some_of(names: Iterable[str]) -> str:
    """``names`` for a message: the first few of them, and how many more there are."""
    every = list(names)
    shown = ", ".join(every[:_MOST_NAMES])
    return shown if len(every) <= _MOST_NAMES else f"{shown} and {len(every) - _MOST_NAMES} more"


def unconverted(tool: str, names: Iterable[str], why: str) -> ImportRefusedError:
    """The refusal of files that our engine would run as something that they are not."""
    files = tuple(names)
    return ImportRefusedError(
        f"{some_of(files)}: {why} Write files for pgdbm with convert({tool!r}, folder, new_folder), or with "
        f"`pgdbm migrate convert --from {tool}`, and import with those.",
        "unconverted",
        files,
    )
