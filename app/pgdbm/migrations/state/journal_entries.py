"""The entries of the journal, as the commands and the API return them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from ..results import JournalEvent


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """An entry of the journal. ``statement`` is None for an entry about the whole file."""

    id: int
    filename: str
    statement: int | None
    event: JournalEvent
    attempt: int
    sqlstate: str | None
    message: str | None
    started_at: datetime
    ended_at: datetime | None
    started_by: str
