"""The waterfall of a run: what happened to each migration and statement, from the run's events. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from ..api.runs import RunEvent

Kind = Literal["ok", "run", "wait", "retry", "bad"]
State = Literal["pending", "running", "succeeded", "failed"]


@dataclass(slots=True)
class Bar:
    """A stretch of time, in seconds since the run started; ``end`` is None while it lasts.

    ``wait`` is waiting for a lock, ``retry`` the pause before the next attempt.
    """

    kind: Kind
    start: float
    end: float | None = None


@dataclass(slots=True)
class Row:
    """A row of consecutive bars. Without bars, it was not reached."""

    bars: list[Bar] = field(default_factory=list)
    state: State = "pending"

    @property
    def seconds(self) -> float | None:
        """Its duration; None before it began or while it lasts."""
        if not self.bars or self.bars[-1].end is None:
            return None
        return self.bars[-1].end - self.bars[0].start

    @property
    def waited(self) -> float:
        """The seconds spent waiting for locks and for further attempts, in ended bars."""
        return sum((bar.end or bar.start) - bar.start for bar in self.bars if bar.kind in ("wait", "retry"))

    def begin(self, kind: Kind, at: float) -> None:
        """End the current bar and start one of ``kind``, unless it has this kind already."""
        if self.bars and self.bars[-1].end is None:
            if self.bars[-1].kind == kind:
                return
            self.bars[-1].end = at
        self.bars.append(Bar(kind, at))
        self.state = "running"

    def end(self, at: float, *, failed: bool = False) -> None:
        """End the current bar; what ran until now succeeded, or ``failed``."""
        if self.bars and self.bars[-1].end is None:
            self.bars[-1].end = at
        self.state = "failed" if failed else "succeeded"
        for bar in self.bars:
            if bar.kind == "run":
                bar.kind = "ok"
        if failed and self.bars and self.bars[-1].kind == "ok":
            self.bars[-1].kind = "bad"


@dataclass(slots=True)
class Statement(Row):
    """One statement of a migration. Statements shorter than the interval of the run's events have no row."""

    number: int = 0


@dataclass(slots=True)
class Step(Row):
    """One migration in one schema."""

    filename: str = ""
    schema: str = ""
    statement_count: int = 0
    statements: list[Statement] = field(default_factory=list)
    attempts: int = 1

    def statement(self, number: int | None, at: float) -> None:
        """Statement ``number`` is now running; the previous one has ended."""
        if number is None:
            return
        if self.statements and self.statements[-1].state == "running":
            if self.statements[-1].number == number:
                return
            self.statements[-1].end(at)
        known = next((one for one in self.statements if one.number == number), None)
        if known is None:
            known = Statement(number=number)
            self.statements.append(known)
            self.statements.sort(key=lambda one: one.number)
        known.begin("run", at)

    @property
    def at_work(self) -> Statement | None:
        return next((one for one in self.statements if one.state == "running"), None)


_ENDS = frozenset({"migration_applied", "migration_ended", "migration_failed"})
_WAITS = frozenset({"blocked", "waiting_for_runner"})


def steps(events: Iterable[RunEvent], started: datetime, pending: Sequence[tuple[str, str]] = ()) -> list[Step]:
    """The steps in the order in which they began, then ``pending``: schemas and files that have not started.

    The times of the bars count from ``started``.
    """
    found: dict[tuple[str, str], Step] = {}
    at_work: dict[str, str] = {}
    for event in events:
        schema = event.schema or ""
        # A wait is reported for the schema, but belongs to the current file.
        filename = event.filename or (at_work.get(schema) if event.kind in _WAITS else None)
        if filename is None:
            continue
        at_work[schema] = filename
        step = found.setdefault((schema, filename), Step(filename=filename, schema=schema))
        _apply(step, event, max((event.at - started).total_seconds(), 0.0))
    for schema, filename in pending:
        found.setdefault((schema, filename), Step(filename=filename, schema=schema))
    return list(found.values())


def _apply(step: Step, event: RunEvent, at: float) -> None:
    step.statement_count = event.statements or step.statement_count
    statement = step.at_work
    if event.kind == "migration_started":
        step.begin("run", at)
    elif event.kind == "progress":
        # A report about the running statement, which may be the same statement as before.
        if step.state in ("succeeded", "failed"):
            return
        if event.statement is not None and (statement is None or statement.number != event.statement):
            step.begin("run", at)
            step.statement(event.statement, at)
        elif event.phase:
            for row in (step, statement):
                if row is not None:
                    row.begin("run", at)
    elif event.kind in _WAITS:
        for row in (step, statement):
            if row is not None:
                row.begin("wait", at)
    elif event.kind == "retrying":
        step.attempts = (event.attempt or step.attempts) + 1
        step.statement(event.statement, at)
        step.begin("retry", at)
        for one in step.statements:
            if one.number == event.statement:
                one.begin("retry", at)
    elif event.kind in _ENDS:
        _end(step, event, at)


def _end(step: Step, event: RunEvent, at: float) -> None:
    failed = event.kind == "migration_failed"
    took = (event.execution_time_ms or 0.0) / 1000
    if failed:
        step.statement(event.statement, at)
    for one in step.statements:
        if one.state == "running":
            one.end(at, failed=failed)
    if not step.bars:
        step.bars.append(Bar("run", max(at - took, 0.0)))
    # Events are written in batches, so the server's own measurement is more accurate.
    step.bars[0].start = max(min(step.bars[0].start, at - took), 0.0)
    step.end(at, failed=failed)


def seconds_left(events: Sequence[RunEvent]) -> float | None:
    """The remaining time of the current phase at the current rate; None if the server reports no progress."""
    newest = next((event for event in reversed(events) if event.kind == "progress"), None)
    if newest is None or newest.percent is None or newest.phase is None:
        return None
    first = newest
    for event in reversed(events):
        if event.kind != "progress":
            continue
        if event.percent is None or _phase_of(event) != _phase_of(newest) or event.percent > (first.percent or 0.0):
            break
        first = event
    done, took = newest.percent - (first.percent or 0.0), (newest.at - first.at).total_seconds()
    return None if done <= 0 or took <= 0 else (100 - newest.percent) * took / done


def _phase_of(event: RunEvent) -> tuple[str | None, int | None, str | None]:
    return event.filename, event.statement, event.phase
