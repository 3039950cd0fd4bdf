"""Answers of GET /overview, GET /replicas and GET /events."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from .activity import PoolState
from .freezes import Freeze
from .modules import ModuleSummary
from .runs import Progress, RunStatus, StartHold

AttentionKind = Literal[
    "failed",
    "blocked",
    "waiting_for_approval",
    "changed",
    "unknown",
    "partial",
    "invalid",
    "invalid_index",
    "empty",
    "behind",
]


class OverviewRun(msgspec.Struct, kw_only=True):
    """A run in short. ``duration_ms`` is the time until its end, or until now; None before it started.

    ``problem_code`` and ``detail`` say why it failed. While it is in progress, ``ended_schema_count`` of its
    ``schema_count`` schemas have ended, and ``progress`` is the progress of ``schema``, preferably one that waits for a
    lock. ``start_hold`` says why it is held.
    """

    id: UUID
    module: str
    status: RunStatus
    created_by: str
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    duration_ms: float | None = None
    problem_code: str | None = None
    detail: str | None = None
    schema_count: int | None = None
    ended_schema_count: int | None = None
    schema: str | None = None
    progress: Progress | None = None
    start_hold: StartHold | None = None


class Attention(msgspec.Struct, kw_only=True):
    """Something that requires a decision. ``since`` is when it began, if that is known."""

    kind: AttentionKind
    module: str
    detail: str
    run_id: UUID | None = None
    since: datetime | None = None


class OverviewModule(ModuleSummary, kw_only=True):
    """A module with its newest runs, newest first. ``states`` counts its ``schema_count`` schemas by state."""

    schema_count: int = 0
    states: dict[str, int] = msgspec.field(default_factory=dict)
    runs: list[OverviewRun] = msgspec.field(default_factory=list)


class Overview(msgspec.Struct, kw_only=True):
    """``attention`` lists the most urgent item first, ``running`` the oldest run first, ``modules`` by name.

    ``lost_replicas`` stopped sending heartbeats within the last hour, without having been shut down.
    ``freezes`` are those in force.
    """

    attention: list[Attention]
    running: list[OverviewRun]
    modules: list[OverviewModule]
    replica_count: int
    lost_replicas: list[Replica] = msgspec.field(default_factory=list)
    freezes: list[Freeze] = msgspec.field(default_factory=list)
    pool: PoolState
    server_version: str | None


class Replica(msgspec.Struct, kw_only=True):
    """A process of the service. ``running`` is the number of schemas that it is migrating now, ``modules`` the names of
    their modules."""

    id: UUID
    host: str
    pid: int
    version: str
    started_at: datetime
    seen_at: datetime
    running: int
    modules: list[str]


class ReplicaList(msgspec.Struct):
    """``lost_replicas`` stopped sending heartbeats within the last hour, without having been shut down."""

    items: list[Replica]
    next: str | None = None
    lost_replicas: list[Replica] = msgspec.field(default_factory=list)


class ChangedRun(msgspec.Struct, kw_only=True):
    """The data of an event of ``GET /events``: a run as it is now."""

    run: OverviewRun
