"""What the engine says while it works, for those who listen."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

logger = logging.getLogger("pgdbm.migrations")

Kind = Literal[
    "run_began",
    "waiting_for_runner",
    "migration_began",
    "statement_began",
    "statement_ended",
    "blocked",
    "progress",
    "retrying",
    "migration_ended",
    "migration_failed",
    "run_ended",
]


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    ``statement`` counts from 1 up to ``statements``. ``details`` by kind: ``blocked`` has ``blockers`` (pid, user,
    application_name, state, transaction_age_s, query, blocked_by); ``progress`` has ``command``, ``phase`` and
    ``percent``; ``retrying`` has ``attempt``, ``sqlstate``, ``message`` and ``pause_s``; ``waiting_for_runner`` has
    ``holder``; what ended has ``ms``.
    """

    kind: Kind
    schema: str
    module: str
    filename: str | None = None
    statement: int | None = None
    statements: int | None = None
    details: dict[str, Any] = field(default_factory=dict)
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


Listener = Callable[[Event], None]


class Announcer:
    """Tells a listener, if there is one, what happens to a module in a schema."""

    def __init__(self, schema: str, module: str, listener: Listener | None) -> None:
        self._schema = schema
        self._module = module
        self._listener = listener

    @property
    def is_heard(self) -> bool:
        """Whether anybody listens. Nobody: cheap files travel together, and nothing is watched."""
        return self._listener is not None

    def say(
        self,
        kind: Kind,
        filename: str | None = None,
        statement: int | None = None,
        statements: int | None = None,
        **details: Any,
    ) -> None:
        """Tell the listener. One that raises is logged and does not disturb the migration."""
        if self._listener is None:
            return
        try:
            self._listener(Event(kind, self._schema, self._module, filename, statement, statements, details))
        except Exception:
            logger.exception("A listener to migration events failed")
