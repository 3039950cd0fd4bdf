"""The list of runs, in the parts that are replaced when they change. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from .live import Part, Parts
from .rendering import call

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..api.runs import RunItem
    from .viewer import Viewer

_TEMPLATE = "runs_parts.html"


def runs_parts(runs: Iterable[RunItem], viewer: Viewer, *, is_filtered: bool) -> Parts:
    """The parts by id. ``is_filtered``: an empty list means that no run matches."""
    now = datetime.now(UTC)
    rows = {f"run-{run.id}": call(_TEMPLATE, "row", run, now) for run in runs}
    whole = call(_TEMPLATE, "list", list(rows.values()), is_filtered, viewer)
    parts = {"runs": Part(whole, tuple(rows))}
    return parts | {name: Part(html, html, within="runs") for name, html in rows.items()}
