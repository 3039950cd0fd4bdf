"""Emits the events of a run."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .events import Kind, Listener

logger = logging.getLogger("pgdbm.migrations")


class Announcer:
    """Emits the events of a module in a schema to a listener, if there is one. ``filename``: the file that is being
    applied."""

    def __init__(self, schema: str, module: str, listener: Listener | None) -> None:
        self._schema = schema
        self._module = module
        self._listener = listener
        self.filename: str | None = None

    @property
    def has_listener(self) -> bool:
        """Without a listener, the duration of messages is not limited, and the progress is not polled."""
        return self._listener is not None

    def emit(
        self,
        kind: Kind,
        filename: str | None = None,
        statement: int | None = None,
        statements: int | None = None,
        *,
        at: datetime | None = None,
        **details: Any,
    ) -> None:
        """Call the listener. If it raises, that is logged, and the migration continues. ``at``: None for now."""
        if kind == "migration_started":
            self.filename = filename
        if self._listener is None:
            return
        from .events import Event  # imported lazily: without a listener there are no events

        try:
            when = at or datetime.now(UTC)
            self._listener(Event(kind, self._schema, self._module, filename, statement, statements, details, when))
        except Exception:
            logger.exception("A listener to migration events failed")
