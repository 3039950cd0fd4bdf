"""What the activity calls answer."""

from __future__ import annotations

from datetime import datetime

import msgspec


class Session(msgspec.Struct, kw_only=True):
    """A session that blocks others, or waits. ``waiting_s`` is None where it waits for nobody.

    ``query`` is its current or last statement, with ``?`` for every literal. ``transaction_age_s`` is None outside a
    transaction. ``blocks`` are those that wait for this session; one that waits for two stands under both.
    """

    pid: int
    user: str | None
    application: str | None
    state: str | None
    transaction_age_s: float | None
    waiting_s: float | None
    query: str | None
    blocks: list[Session] = []


class BlockingTree(msgspec.Struct):
    """Each item waits for nobody, and is whom the others wait for."""

    items: list[Session]
    next: str | None = None


class LongRunningQuery(msgspec.Struct, kw_only=True):
    """``query`` has ``?`` for every literal. For an idle transaction it is the last statement."""

    pid: int
    user: str | None
    application: str | None
    state: str | None
    query: str | None
    started_at: datetime
    duration_s: float


class LongRunningList(msgspec.Struct):
    items: list[LongRunningQuery]
    next: str | None = None


class PoolState(msgspec.Struct, kw_only=True):
    """``size`` connections are open, ``used`` of them busy; ``max`` is the most that the pool opens.

    ``migrating`` runs have a turn now, ``waiting`` ones wait for one; ``migrating_max`` turns there are.
    """

    size: int
    free: int
    used: int
    max: int
    migrating: int
    migrating_max: int
    waiting: int
