"""The progress of a run."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from ...core.asyncpg_errors import FAILURES, is_closed, is_lost, lost_message
from ...errors import ConnectionError
from ...text import error_text, sentence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ..sources.parser import ParsedMigration
    from .blockers import BlockerEnding
    from .notices import NoticeCollector
    from .touched import Names


class Position(NamedTuple):
    """The file, and the numbers of the first and the last statement of a message; for a backfill also the batch."""

    migration: ParsedMigration
    first: int
    last: int
    detail: str = ""


class Run:
    """The progress of one call of apply.

    The first ``durable`` of ``applied`` survive a crash of the server. ``is_clean``: no file has left anything in the
    session; ``has_prepared``: one may have left prepared statements.

    ``blockers`` are the sessions that were last seen to block a statement; ``watch_locks`` starts to poll for them;
    ``ending`` ends them. ``is_pausing``: between two attempts. ``joins_statements``: several statements of a file may
    share a message. ``starts_history``: every file was pending when the run was planned. ``histories``: the digest of
    the history that each file has to find, if only a given plan may be applied. ``tables``: for each file, the tables
    of which it changes only their own description; None for a file that may change anything. ``position`` is where the
    run is, if its message has statements of one file. ``times``: how many milliseconds files took, if that is known.
    """

    def __init__(
        self, notices: NoticeCollector, *, lock_timeout: float | None = None, ending: BlockerEnding | None = None
    ) -> None:
        self.notices = notices
        self.lock_timeout = lock_timeout
        self.ending = ending
        self.started = time.perf_counter()
        self.applied: list[str] = []
        self.durable = 0
        self.is_clean = True
        self.has_prepared = False
        self.renamed: dict[str, str] = {}
        self.blockers: list[dict[str, Any]] = []
        self.watch_locks: Callable[[], None] = lambda: None
        self.is_pausing = False
        self.joins_statements = False
        self.starts_history = False
        self.histories: Mapping[str, str] = {}
        self.tables: dict[str, Names | None] = {}
        self.position: Position | None = None
        self.times = notices.times

    @property
    def milliseconds(self) -> float:
        return (time.perf_counter() - self.started) * 1000


def lost(error: BaseException) -> str:
    """Record that the connection was lost, with the ``error``."""
    reason = "it was closed between two statements" if is_closed(error) else error_text(error)
    return sentence(f"The connection was lost while migrations were applied: {reason}")


@contextmanager
def with_applied(run: Run) -> Iterator[None]:
    """Add the migrations applied so far to the error of a lost connection."""
    try:
        yield
    except ConnectionError as error:
        error.details.setdefault("applied", list(run.applied))
        raise
    except FAILURES as error:
        if not is_lost(error):
            raise
        details = {"applied": list(run.applied), "error_type": type(error).__name__}
        raise ConnectionError(lost_message(error), details) from error
