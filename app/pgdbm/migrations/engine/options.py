"""The options of an engine."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from ...errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..results import Notice, OutOfOrder
    from .blockers import BlockerPolicy

logger = logging.getLogger("pgdbm.migrations")

_LONGEST_ROLE = 63


class EngineOptions(NamedTuple):
    """The behavior of an engine. Times are seconds.

    ``lock_timeout`` (None: the server's setting; 0: no limit) limits how long one transactional statement waits for a
    lock; ``retry_for`` how long such a migration is retried; ``reconnect_for`` the attempts to reach the server after
    the connection was lost. ``snapshots``: a run that applied something stores a snapshot of the schema, for
    :meth:`~pgdbm.migrations.AsyncMigrationManager.drift`. ``role``: the files run as this role (None: as the connecting
    user). ``on_backend`` is called with the process id of the backend before it migrates, and with None afterwards;
    ``on_notice`` with every notice from the server. ``defer_background``: skip backfills in the background.
    ``end_blockers``: which sessions that block a migration are ended (None: none).
    """

    out_of_order: OutOfOrder = "allow"
    lock_timeout: float | None = 5.0
    retry_for: float = 600.0
    reconnect_for: float = 60.0
    snapshots: bool = True
    role: str | None = None
    on_backend: Callable[[int | None], None] | None = None
    on_notice: Callable[[Notice], None] | None = None
    defer_background: bool = False
    end_blockers: BlockerPolicy | None = None


def milliseconds_of(seconds: float) -> int:
    """A timeout as PostgreSQL expects it: 0 means no limit there, so any other value is at least one millisecond."""
    return max(round(seconds * 1000), 1) if seconds else 0


def check_options(out_of_order: str, timeouts: Mapping[str, float | None], role: str | None) -> None:
    """Raise ConfigurationError for an invalid value."""
    if out_of_order not in ("allow", "reject"):
        raise ConfigurationError(f"out_of_order is {out_of_order!r}; choose 'allow' or 'reject'.", "out_of_order")
    for name, seconds in timeouts.items():
        if seconds is not None and not seconds >= 0:
            raise ConfigurationError(f"{name} is {seconds}; it must be a number of seconds, at least 0.", name)
    if role is not None and not 0 < len(role.encode()) <= _LONGEST_ROLE:
        raise ConfigurationError(f"role is {role!r}; the name of a role must have 1 to {_LONGEST_ROLE} bytes.", "role")


def default_module(schema: str | None) -> str:
    """The name of a module without one, with a warning."""
    module = schema if schema is not None and schema != "public" else "default"
    logger.warning(
        "AsyncMigrationManager has no module_name and takes %r: give every service its own module_name, so that the "
        "migrations of several services in one schema do not mix.",
        module,
    )
    return module
