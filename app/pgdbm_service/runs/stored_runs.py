"""What is written of a new run, and what the worker reads of a stored one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from ..api.common import Approvals
from ..api.freezes import Freeze
from ..api.runs import RunOptions, StartHold
from .plan_binding import BoundPlan
from .request import MigrationRequest, digest_of


class NewRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run to create: ``schemas`` are those of the request, ``bundle`` is the digest of the files.

    ``bound``: the plan for these schemas, if the module's runs need approvals.
    """

    id: UUID
    request: MigrationRequest
    bundle: str
    schemas: Sequence[str]
    bound: BoundPlan | None = None

    @property
    def digest(self) -> str:
        """A digest that is equal for runs with the same options and files: one of them is enough."""
        same = [self.request.options, self.bundle]
        return digest_of(same if self.bound is None else [*same, self.bound.digest])


class StoredOptions(RunOptions, frozen=True, kw_only=True, omit_defaults=True):
    """The options without those that an earlier release, which may take the run, neither knows nor needs."""


FollowUp = Callable[[Sequence[str]], Awaitable[NewRun | None]]
"""Returns the run that follows, given the schemas in which a run has succeeded."""


class TakenRun(msgspec.Struct, frozen=True, kw_only=True):
    """The columns of a run that a worker needs. ``is_free``: an admin used break-glass, so nothing prevents it from
    starting."""

    id: UUID
    module: str
    options: RunOptions
    bundle: str
    created_by: str
    traceparent: str | None
    cancelled: bool
    schema_count: int
    is_started: bool
    hold: StartHold | None
    freeze: Freeze | None
    plan: str | None
    approvals: Approvals | None
    approvals_needed: int
    is_free: bool
    approvals_given: int


RunEvent = tuple[str, Mapping[str, Any]]
"""The kind and the data of an event."""


class UnfinishedSchema(NamedTuple):
    """The values of the column ``unfinished``, in order. ``has_ended``: it has ended, but the summaries may not show
    that yet.

    ``is_started``: an attempt has started; with ``is_owned``, on a replica that is alive.
    """

    schema: str
    replica: UUID | None
    has_ended: bool
    is_started: bool
    is_owned: bool


class StartedSchema(msgspec.Struct):
    """An attempt at a schema. ``pending``: the files that the first attempt found; None if this is the first attempt.

    ``replica_crashes``: replicas that died during an attempt since something was last applied; ``filename``: the file
    that the last of them had reached, if known. ``plan``: the digest of the only plan that may be applied.
    """

    schema: str
    attempt: int
    pending: list[str] | None
    replica_crashes: int
    filename: str | None
    plan: str | None


class StoredKey(NamedTuple):
    """``request`` is the digest of the request that came with the key. ``http_status``: why the run failed."""

    run: UUID
    request: str
    module: str
    bundle: str | None
    has_ended: bool
    http_status: int | None


class KeyTakenError(Exception):
    """The Idempotency-Key already belongs to a run."""
