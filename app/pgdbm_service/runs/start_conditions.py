"""Decides whether a run may start now, from its approvals, its start time, the windows of its module, and freezes.

A run that has started is not held: it continues until it ends.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from pgdbm.text import sentence

from ..api.runs import StartHold
from ..errors import ServiceError
from ..registry.approvals import combined
from ..settings.windows import next_opening
from .queue import RetryLater

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..api.common import Windows
    from ..api.freezes import Freeze
    from ..registry.modules import Module
    from ..registry.policies import ModulePolicies
    from .approvals import RunApprovals
    from .freezes import Freezes
    from .plan_binding import PlanBinding
    from .request import MigrationRequest
    from .store import Store
    from .stored_runs import TakenRun

# Windows may change while a run is held.
_LONGEST_HOLD_S = 900.0
_SHORTEST_HOLD_S = 0.05

logger = structlog.get_logger("pgdbm_service")


class StartConditions:
    def __init__(
        self, policies: ModulePolicies, freezes: Freezes, binding: PlanBinding, approvals: RunApprovals
    ) -> None:
        self._policies = policies
        self._freezes = freezes
        self._binding = binding
        self._approvals = approvals

    async def hold_of(self, module: Module) -> StartHold | None:
        """Why no run of ``module`` starts now."""
        return find_hold(
            module.name,
            await self._freezes.of_module(module.name),
            self._policies.windows_of(module),
            datetime.now(UTC),
        )

    async def require_unfrozen(self, module: Module) -> None:
        """Raise a ServiceError (closed) if the history of ``module`` may not be changed because it is frozen."""
        hold = await self.hold_of(module)
        if hold is not None and hold.reason == "freeze":
            raise closed(module.name, hold)

    async def require_revertible(self, module: Module) -> None:
        """Raise a ServiceError unless down migrations of ``module`` may run now, for which no plan can be approved.

        Raises:
            ServiceError: approval_required, closed.
        """
        if self._policies.approvals_of(module) is not None:
            raise ServiceError(
                "approval_required",
                f"Migrations of {module.name} need approvals, but down migrations are not part of a plan. Nothing was "
                "reverted.",
                module=module.name,
            )
        hold = await self.hold_of(module)
        if hold is not None:
            raise closed(module.name, hold)

    async def require_accepted(self, request: MigrationRequest, module: Module) -> None:
        """Raise a ServiceError (closed) if the request has to be refused rather than held."""
        if request.options.if_closed == "refuse":
            hold = await self.hold_of(module)
            if hold is not None:
                raise closed(module.name, hold)

    async def admit(self, run: TakenRun, module: Module, store: Store) -> bool:
        """Let a run start that has not started yet; False if it waits for approvals.

        Raises:
            RetryLater: it is held.
            ServiceError: closed, if the run has to be refused rather than held; plan_moved, if its approvals are void.
        """
        if run.is_free:
            return True
        if await self._waits_for_approval(run, module):
            return False
        await self._require_open(run, module, store)
        if run.plan is not None and run.approvals_given:
            # Compared again after a hold, because the pending migrations may have changed.
            await self._approvals.require_unmoved(run.id)
        return True

    async def _waits_for_approval(self, run: TakenRun, module: Module) -> bool:
        """Whether the run needs more approvals than it has, including those required since it was created."""
        demanded = self._policies.approvals_of(module)
        if demanded is None or combined(demanded, run.approvals) == run.approvals:
            return run.approvals_given < run.approvals_needed
        bound = await self._binding.bind(module, await self._approvals.schemas(run.id), run.options.target)
        return bound is not None and await self._approvals.require(run.id, bound)

    async def _require_open(self, run: TakenRun, module: Module, store: Store) -> None:
        """Raise unless nothing holds the run.

        Raises:
            RetryLater: it is held.
            ServiceError: closed, if the run has to be refused rather than held.
        """
        now = datetime.now(UTC)
        hold = find_hold(module.name, run.freeze, self._policies.windows_of(module), now)
        if hold is not None and run.options.if_closed == "refuse":
            raise closed(module.name, hold)
        if hold is None:
            hold = _not_before(run.options.not_before, now)
        if hold is not None:
            if await store.hold(run.id, hold):
                logger.info("run held", module=module.name, hold=hold.reason)
            raise RetryLater(_seconds_to(hold.until, now))
        if run.hold is not None:
            await store.release(run.id)


def find_hold(module: str, freeze: Freeze | None, windows: Sequence[Windows], now: datetime) -> StartHold | None:
    """Why no run of ``module`` starts now, given its freeze and the windows that must all be open."""
    if freeze is not None:
        end = "" if freeze.until is None else f" until {_shown(freeze.until)}"
        text = sentence(f"{module} is frozen{end} by {freeze.frozen_by}: {freeze.reason}")
        return StartHold("freeze", freeze.until, text)
    opening = next_opening(windows, now)
    if opening == now:
        return None
    when = "its windows are never open together" if opening is None else f"the next one opens at {_shown(opening)}"
    return StartHold("window", opening, f"{module} is outside its windows: {when}.")


def closed(module: str, hold: StartHold) -> ServiceError:
    """The error that a migrate is refused because of ``hold``."""
    return ServiceError(
        "closed", f"{hold.detail} Nothing was applied.", module=module, reason=hold.reason, until=hold.until
    )


def _not_before(at: datetime | None, now: datetime) -> StartHold | None:
    if at is None or at <= now:
        return None
    return StartHold("not_before", at, f"It was requested not to start before {_shown(at)}.")


def _seconds_to(until: datetime | None, now: datetime) -> float:
    if until is None:
        return _LONGEST_HOLD_S
    # A little later than necessary, because being too early would hold the run again.
    return min(max((until - now) / timedelta(seconds=1) + _SHORTEST_HOLD_S, _SHORTEST_HOLD_S), _LONGEST_HOLD_S)


def _shown(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
