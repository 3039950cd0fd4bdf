"""The progress of a run, on a terminal and in the log of a pipeline."""

from __future__ import annotations

import time
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from rich.progress import Progress, TaskID

    from pgdbm.cli.output import Output

    from ..client import AsyncClient, MigrateResult, RunEvent

# How often a long statement is reported in a log, in seconds.
_A_LINE_EVERY_S = 15.0
_FEW_SCHEMAS = 5


class RunDisplay:
    """Shows the events of a run: as lines on stdout, and with a progress bar if there is a terminal."""

    def __init__(self, output: Output, bar: Progress | None = None) -> None:
        self._output = output
        self._bar = bar
        self._task: TaskID | None = None if bar is None else bar.add_task("queued", total=None)
        self._schemas = 1
        self._schemas_ended = 0
        self._quiet_until = 0.0

    def show(self, event: RunEvent) -> None:
        """Show the next event."""
        text = self._text(event)
        if text is not None:
            self._output.line(text)
        elif event.kind == "progress":
            self._show_progress(event)
        if event.kind == "schema_ended":
            self._schemas_ended += 1
        if self._bar is not None and self._task is not None:
            self._update(self._bar, self._task, event)

    def _text(self, event: RunEvent) -> str | None:
        where = f"{event.schema}: " if self._schemas > 1 and event.schema else ""
        match event.kind:
            case "run_queued":
                self._schemas = event.schema_count or 1
                return f"  in {self._schemas} schemas" if self._schemas > 1 else None
            case "migration_ended":
                return f"  {where}{event.filename}  {event.execution_time_ms or 0:.0f} ms"
            case "migration_failed":
                return f"  {where}{event.filename}  failed"
            case "schema_ended" if self._schemas > 1 and event.status != "succeeded":
                return f"  {event.schema}  {event.status}"
            case "schema_ended" if 1 < self._schemas <= _FEW_SCHEMAS:
                return f"  {event.schema}  {event.applied_count or 0} applied"
            case "notice":
                return f"  {where}{event.filename}: {event.severity}: {event.message}"
            case "blocked":
                return f"  {where}waits for {', '.join(map(_backend, event.waiting_for or ()))}"
            case "blocker_ended":
                return f"  {where}{event.action}: {_backend(event.blocker or {})}, which blocked {event.filename}"
            case "waiting_for_runner":
                return f"  {where}waits for another runner of the module: {_backend(event.holder or {})}"
            case "retrying":
                return f"  {where}{event.filename}: {event.message or event.sqlstate}; trying again"
            case "requeued":
                return f"  another replica continues ({(event.reason or 'unknown').replace('_', ' ')})"
            case "held":
                return f"  held: {event.detail}"
            case "waiting_for_approval":
                return f"  waits for {_approvals((event.required_count or 1) - (event.approval_count or 0))}"
            case "approved":
                return f"  approved by {event.principal}, {event.approval_count} of {event.required_count}"
            case "rejected":
                return f"  rejected by {event.principal}"
            case "break_glass":
                return f"  started without approvals by {event.principal}: {event.reason}"
            case "cancel_requested":
                return "  cancellation was requested"
        return None

    def _show_progress(self, event: RunEvent) -> None:
        now = time.monotonic()
        if self._bar is None and now >= self._quiet_until:
            if self._quiet_until:
                self._output.line(f"  {_position(event)}")
            self._quiet_until = now + _A_LINE_EVERY_S

    def _update(self, bar: Progress, task: TaskID, event: RunEvent) -> None:
        if self._schemas > 1:
            bar.update(task, description="schemas", completed=self._schemas_ended, total=self._schemas)
        elif event.kind == "progress":
            bar.update(
                task, description=_position(event), completed=event.applied_count or 0, total=event.pending_count
            )
        elif event.kind in ("held", "waiting_for_approval", "blocked", "waiting_for_runner", "retrying", "requeued"):
            bar.update(task, description=event.kind.replace("_", " "))


@contextmanager
def run_display(output: Output) -> Iterator[RunDisplay]:
    """A display for the duration of the block, with a progress bar if stderr is a terminal."""
    bar = output.progress_bar()
    with bar or nullcontext():
        yield RunDisplay(output, bar)


async def followed(client: AsyncClient, run_id: UUID | str, output: Output) -> MigrateResult:
    """Show a run until it ends, and return its result.

    Raises:
        ProblemError: the run did not succeed.
    """
    from ..client import result_of

    with run_display(output) as shown:
        async for event in client.follow(run_id):
            shown.show(event)
    return result_of(await client.get_run(run_id))


def _position(event: RunEvent) -> str:
    text = event.filename or f"{event.applied_count or 0} of {event.pending_count or 0} files"
    if event.statement and event.statements:
        text += f", statement {event.statement} of {event.statements}"
    if event.phase:
        text += f", {event.phase}"
    if event.percent is not None:
        text += f" {event.percent:.0f}%"
    return text


def _approvals(number: int) -> str:
    return "1 approval" if number == 1 else f"{number} approvals"


def _backend(backend: dict[str, Any]) -> str:
    who = " ".join(str(backend[name]) for name in ("user", "application_name") if backend.get(name))
    return f"process {backend.get('pid', '?')}{f' ({who})' if who else ''}"
