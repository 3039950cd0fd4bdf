"""What a module needs in addition to a request: other people's approvals. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ..api.common import Approvals

if TYPE_CHECKING:
    from .settings import CheckedSettings

_STRICTNESS: tuple[Literal["never", "warning", "always"], ...] = ("never", "warning", "always")


def combined(*given: Approvals | None) -> Approvals | None:
    """The strictest combination of ``given``, field by field; None if no run needs an approval."""
    wanted = [one for one in given if one is not None and one.when != "never"]
    if not wanted:
        return None
    return Approvals(
        count=max(one.count for one in wanted),
        when=_STRICTNESS[max(_STRICTNESS.index(one.when) for one in wanted)],
        require_reason=any(one.require_reason for one in wanted),
    )


def is_weakened(before: CheckedSettings, now: CheckedSettings) -> bool:
    """Whether runs need less with the settings ``now`` than ``before``: fewer approvals, or different windows."""
    if before.windows is not None and now.windows != before.windows:
        return True
    return combined(before.approvals, now.approvals) != combined(now.approvals)
