"""Answers of the activity calls."""

from __future__ import annotations

from datetime import datetime

import msgspec


class Backend(msgspec.Struct, kw_only=True):
    """A server process that blocks others, or waits for a lock. ``waiting_s`` is None if it does not wait.

    ``query`` is its current or last statement, with ``?`` for every literal. ``transaction_age_s`` is None outside a
    transaction. ``blocks`` lists the backends that wait for this one; a backend that waits for two others is in both of
    their lists.
    """

    pid: int
    user: str | None
    application_name: str | None
    state: str | None
    transaction_age_s: float | None
    waiting_s: float | None
    query: str | None
    blocks: list[Backend] = []


class BlockingTree(msgspec.Struct):
    """Each item blocks others but does not wait itself."""

    items: list[Backend]
    next: str | None = None


class LongRunningQuery(msgspec.Struct, kw_only=True):
    """``query`` has ``?`` for every literal. For an idle transaction it is the last statement."""

    pid: int
    user: str | None
    application_name: str | None
    state: str | None
    query: str | None
    started_at: datetime
    duration_s: float


class LongRunningList(msgspec.Struct):
    items: list[LongRunningQuery]
    next: str | None = None


class PoolState(msgspec.Struct, kw_only=True):
    """``size`` connections are open, ``used`` of them busy; ``max`` is the maximum size of the pool.

    ``migrating`` of the ``migrating_max`` slots for migrations are in use; ``waiting`` migrations wait for one.
    """

    size: int
    free: int
    used: int
    max: int
    migrating: int
    migrating_max: int
    waiting: int


class TerminateBody(msgspec.Struct, forbid_unknown_fields=True):
    """``backend_start``: when the session started; required if it is not blocking a migration now."""

    backend_start: datetime | None = None


class TerminatedBackend(msgspec.Struct, kw_only=True):
    """The session that was ended."""

    pid: int
    user: str | None
    application_name: str | None
    backend_start: datetime
