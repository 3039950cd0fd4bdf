"""The state of a module as the pages show it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .wording import waits_for

if TYPE_CHECKING:
    from ..api.modules import ModuleDetail
    from ..api.overview import AttentionKind, OverviewModule, OverviewRun

# By urgency. What each state requires from an operator; the other states require nothing.
ATTENTION: dict[str, AttentionKind] = {
    "failed": "failed",
    "partial": "partial",
    "unknown": "unknown",
    "changed": "changed",
    "invalid": "invalid",
}
GOOD = ("up_to_date", "ahead")


class ShownState(NamedTuple):
    """``state`` is that of the module or of its run in progress; ``word`` is the text for it."""

    state: str
    word: str


def shown_state(module: ModuleDetail | OverviewModule, run: OverviewRun | None = None) -> ShownState:
    """The state of the module's run in progress; else whether its last run failed; else that of its schemas.

    ``run``: the run in progress with its progress, if that is known.
    """
    if run is not None:
        return _of_run(run)
    if module.active_run_status is not None:
        return _plain(module.active_run_status)
    if attention_of(module) == "failed":
        return _plain("failed")
    good = schemas_in(module, GOOD)
    if module.state == "pending" and 0 < good < module.schema_count:
        return ShownState("behind", f"{module.schema_count - good:,} behind")
    return _plain(module.state)


def attention_of(module: ModuleDetail | OverviewModule) -> AttentionKind | None:
    """What the state of the module, or the failure of its last run, requires; None: nothing.

    A run that failed counts for as long as something is pending.
    """
    kind = ATTENTION.get(module.state)
    if kind is None and module.last_run_status == "failed" and module.pending:
        return "failed"
    return kind


def schemas_in(module: ModuleDetail | OverviewModule, states: tuple[str, ...]) -> int:
    """The number of the module's schemas in one of ``states``."""
    return sum(module.states.get(state, 0) for state in states)


def _of_run(run: OverviewRun) -> ShownState:
    progress = run.progress
    if run.status != "running":
        return _plain(run.status)
    if progress is not None and waits_for(progress) is not None:
        return _plain("blocked")
    if run.schema_count is not None and run.schema_count > 1:
        return ShownState("running", f"running {run.ended_schema_count or 0:,} of {run.schema_count:,}")
    if progress is not None and progress.pending_count:
        number = min(progress.applied_count + 1, progress.pending_count)
        return ShownState("running", f"running {number} of {progress.pending_count}")
    return _plain("running")


def _plain(state: str) -> ShownState:
    return ShownState(state, state.replace("_", " "))
