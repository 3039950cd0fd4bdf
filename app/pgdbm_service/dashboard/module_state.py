"""The state of a module as the pages show it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ..api.modules import ModuleDetail
    from ..api.overview import AttentionKind, OverviewModule

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


def shown_state(module: ModuleDetail | OverviewModule) -> ShownState:
    """The state of the module's run in progress; else whether its last run failed; else that of its schemas."""
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


def _plain(state: str) -> ShownState:
    return ShownState(state, state.replace("_", " "))
