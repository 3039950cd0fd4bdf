"""The page with all modules, in the parts that are replaced when they change. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from .live import Part, Parts
from .module_state import GOOD, schemas_in, shown_state
from .rendering import call

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..api.overview import Overview, OverviewModule, OverviewRun

    _Key = tuple[float, str]

_TEMPLATE = "overview_parts.html"
_BAD = ("failed", "unknown", "partial", "changed")
# By urgency: what needs attention, what is running, what waits for a decision, what is up to date.
_STATES = (
    *("failed", "unknown", "partial", "changed", "invalid", "blocked", "running"),
    *("waiting_for_approval", "held", "queued"),
    *("behind", "out_of_order", "pending", "backfilling", "unregistered", "ahead", "up_to_date"),
)
SORTS = {"name": "Module", "state": "State", "pending": "Pending", "last": "Last run", "time": "Run times"}


class Line(NamedTuple):
    """A module in the list. ``state`` may be that of the run in progress; ``word`` is the text for it, with a
    number."""

    module: OverviewModule
    state: str
    word: str
    good: int
    bad: int

    @property
    def last(self) -> OverviewRun | None:
        return self.module.runs[0] if self.module.runs else None


def lines_of(overview: Overview, sort: str) -> list[Line]:
    """The modules in the order given by ``sort``, a key of SORTS."""
    running = {run.module: run for run in reversed(overview.running)}
    lines = [_line(module, running.get(module.name)) for module in overview.modules]
    return sorted(lines, key=_KEYS.get(sort, _by_name))


def overview_parts(overview: Overview, sort: str, shown: Callable[[Line], bool] = lambda _: True) -> Parts:
    """The parts of the page by id. A line that is not ``shown`` is on the page, but hidden."""
    now = datetime.now(UTC)
    lines = lines_of(overview, sort)
    rows = {f"module-{line.module.name}": call(_TEMPLATE, "row", line, now, hidden=not shown(line)) for line in lines}
    table = call(_TEMPLATE, "table", list(rows.values()), sort, SORTS)
    parts = {
        "needs": _part("needs", overview, now),
        "running": _part("running", overview, now),
        "modules": Part(table, tuple(rows)),
    }
    parts |= {name: Part(html, html, within="modules") for name, html in rows.items()}
    parts["footer"] = _part("footer", overview, now)
    return parts


def matching(q: str, state: str) -> Callable[[Line], bool]:
    """Whether the name in a line contains ``q``, ignoring case, and the line has the ``state``, if one is given."""
    wanted = q.lower()
    return lambda line: wanted in line.module.name.lower() and state in ("", line.state)


def states_of(overview: Overview) -> list[str]:
    """The states of the modules in the list, most urgent first."""
    return sorted({line.state for line in lines_of(overview, "name")}, key=_urgency)


def _part(name: str, overview: Overview, now: datetime) -> Part:
    html = call(_TEMPLATE, name, overview, now)
    return Part(html, html)


def _line(module: OverviewModule, run: OverviewRun | None) -> Line:
    state, word = shown_state(module, run)
    return Line(module, state, word, schemas_in(module, GOOD), schemas_in(module, _BAD))


def _urgency(state: str) -> int:
    return _STATES.index(state) if state in _STATES else 0


def _by_name(line: Line) -> _Key:
    return 0, line.module.name


def _by_state(line: Line) -> _Key:
    return _urgency(line.state), line.module.name


def _by_pending(line: Line) -> _Key:
    return -line.module.pending, line.module.name


def _by_last_run(line: Line) -> _Key:
    last = line.last
    return (0 if last is None else -last.created_at.timestamp()), line.module.name


def _by_time(line: Line) -> _Key:
    last = line.last
    return -((None if last is None else last.duration_ms) or 0.0), line.module.name


_KEYS: dict[str, Callable[[Line], _Key]] = {
    "name": _by_name,
    "state": _by_state,
    "pending": _by_pending,
    "last": _by_last_run,
    "time": _by_time,
}
