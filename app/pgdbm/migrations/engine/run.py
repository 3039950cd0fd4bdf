"""The progress of a run."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from .blockers import BlockerEnding
    from .notices import NoticeCollector


@dataclass(slots=True)
class Run:
    """The progress of one call of apply.

    The first ``durable`` of ``applied`` survive a crash of the server. ``is_clean``: no file has left anything in the
    session; ``has_prepared``: one may have left prepared statements.

    ``blockers`` are the sessions that were last seen to block a statement; ``watch_locks`` starts to poll for them;
    ``ending`` ends them.
    ``is_pausing``: between two attempts. ``joins_statements``: several statements of a file may share a message.
    ``starts_history``: every file was pending when the run was planned.
    """

    notices: NoticeCollector
    started: float = field(default_factory=time.perf_counter)
    applied: list[str] = field(default_factory=list)
    durable: int = 0
    is_clean: bool = True
    has_prepared: bool = False
    renamed: dict[str, str] = field(default_factory=dict)
    lock_timeout: float | None = None
    blockers: list[dict[str, Any]] = field(default_factory=list)
    watch_locks: Callable[[], None] = lambda: None
    ending: BlockerEnding | None = None
    is_pausing: bool = False
    joins_statements: bool = False
    starts_history: bool = False

    @property
    def milliseconds(self) -> float:
        return (time.perf_counter() - self.started) * 1000
