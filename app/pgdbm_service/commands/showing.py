"""A run that is followed, on a terminal and in the log of a pipeline."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from rich.progress import Progress, TaskID

    from pgdbm.cli.output import Output

    from ..client import AsyncClient, MigrateResult, RunEvent

# In a log, a statement that takes long says so now and then.
_A_LINE_EVERY_S = 15.0
_FEW_SCHEMAS = 5


class Showing:
    """Says what the events of a run mean: lines on stdout, and below them a bar where there is a terminal."""

    def __init__(self, output: Output, bar: Progress | None = None) -> None:
        self._output = output
        self._bar = bar
        self._task: TaskID | None = None if bar is None else bar.add_task("queued", total=None)
        self._schemas = 1
        self._schemas_ended = 0
        self._quiet_until = 0.0

    def see(self, event: RunEvent) -> None:
        """One more event, in their order."""
        text = self._text(event)
        if text is not None:
            self._output.line(text)
        elif event.kind == "progress":
            self._see_progress(event)
        if event.kind == "schema_ended":
            self._schemas_ended += 1
        if self._bar is not None and self._task is not None:
            self._update(self._bar, self._task, event)

    def _text(self, event: RunEvent) -> str | None:
        where = f"{event.schema}: " if self._schemas > 1 and event.schema else ""
        match event.kind:
            case "run_queued":
                self._schemas = event.schemas or 1
                return f"  in {self._schemas} schemas" if self._schemas > 1 else None
            case "migration_ended":
                return f"  {where}{event.filename}  {event.ms or 0:.0f} ms"
            case "migration_failed":
                return f"  {where}{event.filename}  failed"
            case "schema_ended" if self._schemas > 1 and event.status != "succeeded":
                return f"  {event.schema}  {event.status}"
            case "schema_ended" if 1 < self._schemas <= _FEW_SCHEMAS:
                return f"  {event.schema}  {event.applied or 0} applied"
            case "blocked":
                return f"  {where}waits for {', '.join(map(_session, event.waiting_for or ()))}"
            case "waiting_for_runner":
                return f"  {where}waits for another runner of the module: {_session(event.holder or {})}"
            case "retrying":
                return f"  {where}{event.filename}: {event.message or event.sqlstate}; trying again"
            case "requeued":
                return f"  another replica goes on ({(event.reason or 'unknown').replace('_', ' ')})"
            case "cancel_requested":
                return "  somebody has asked for it to be cancelled"
        return None

    def _see_progress(self, event: RunEvent) -> None:
        now = time.monotonic()
        if self._bar is None and now >= self._quiet_until:
            if self._quiet_until:
                self._output.line(f"  {_place(event)}")
            self._quiet_until = now + _A_LINE_EVERY_S

    def _update(self, bar: Progress, task: TaskID, event: RunEvent) -> None:
        if self._schemas > 1:
            bar.update(task, description="schemas", completed=self._schemas_ended, total=self._schemas)
        elif event.kind == "progress":
            bar.update(task, description=_place(event), completed=event.done or 0, total=event.pending)
        elif event.kind in ("blocked", "waiting_for_runner", "retrying", "requeued"):
            bar.update(task, description=event.kind.replace("_", " "))


@contextmanager
def showing(output: Output) -> Iterator[Showing]:
    """For the length of the block: a bar on stderr where that is a terminal, else lines alone; none with ``--json``."""
    if output.as_json or not sys.stderr.isatty():
        yield Showing(output)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        # What is redirected goes where it was sent.
        redirect_stdout=sys.stdout.isatty(),
    ) as bar:
        yield Showing(output, bar)


async def followed(client: AsyncClient, run_id: UUID | str, output: Output) -> MigrateResult:
    """The result of a run that is shown until it ends.

    Raises:
        ProblemError: why it did not succeed.
    """
    from ..client import result_of

    with showing(output) as shown:
        async for event in client.follow(run_id):
            shown.see(event)
    return result_of(await client.get_run(run_id))


def _place(event: RunEvent) -> str:
    text = event.filename or f"{event.done or 0} of {event.pending or 0} files"
    if event.statement and event.statements:
        text += f", statement {event.statement} of {event.statements}"
    if event.phase:
        text += f", {event.phase}"
    if event.percent is not None:
        text += f" {event.percent:.0f}%"
    return text


def _session(session: dict[str, Any]) -> str:
    who = " ".join(str(session[name]) for name in ("user", "application_name") if session.get(name))
    return f"process {session.get('pid', '?')}{f' ({who})' if who else ''}"
