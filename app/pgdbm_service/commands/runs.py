"""``pgdbm runs``: list runs, show and follow one, cancel it, retry it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pgdbm.cli.options import command
from pgdbm.cli.output import utc

from .server import EXIT_CODES, SERVER, Server
from .showing import followed

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from pgdbm.cli.output import Output
    from pgdbm.cli.session import Session

    from ..runs.structs import MigrateResult, Run, RunStatus

# Somebody sits in front of it.
_RETRY_FOR_S = 10.0
_STATUSES = ("queued", "running", "succeeded", "failed", "cancelled")


class Runs(click.Group):
    """``runs`` lists, ``runs RUN`` shows: what is no command of the group is the id of a run."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = ["list", *args]
        elif args[0] not in self.commands and not args[0].startswith("-"):
            args = ["show", *args]
        return super().parse_args(ctx, args)


@click.group(cls=Runs, epilog=EXIT_CODES)
def runs() -> None:
    """Runs of the service: `pgdbm runs` lists them, `pgdbm runs RUN` shows one."""


@command(runs, "list", SERVER)
@click.option("--module", metavar="NAME", help="Only runs of this module.")
@click.option("--status", type=click.Choice(_STATUSES), help="Only runs with this status.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many at most.")
async def list_all(
    session: Session,
    module: str | None,
    status: RunStatus | None,
    limit: int,
    server: str | None,
    token_file: Path | None,
    allow_http: bool,
) -> None:
    """List runs, newest first."""
    async with Server(server, token_file, allow_http).client(session.output, retry_for_s=_RETRY_FOR_S) as client:
        found = [run async for run in client.list_runs(module=module, status=status, limit=limit)]
    rows = [(run.id, run.module, run.status, utc(run.created_at), utc(run.ended_at), run.caller) for run in found]
    session.output.table([("ID", "MODULE", "STATUS", "CREATED", "ENDED", "CALLER"), *rows])
    session.output.document({"items": [_builtins(run) for run in found]})


@command(runs, "show", SERVER)
@click.argument("run_id", metavar="RUN", type=click.UUID)
@click.option("-f", "--follow", is_flag=True, help="Until it ends; the exit code is then that of `pgdbm deploy`.")
async def show(
    session: Session,
    run_id: UUID,
    follow: bool,
    server: str | None,
    token_file: Path | None,
    allow_http: bool,
) -> None:
    """Show a run: where it is, what it waits for, how it ended."""
    patience = None if follow else _RETRY_FOR_S
    async with Server(server, token_file, allow_http).client(session.output, retry_for_s=patience) as client:
        if follow:
            session.output.interrupted_message = f"Interrupted; run {run_id} goes on."
            _report(session.output, await followed(client, run_id, session.output))
        else:
            _describe(session.output, await client.get_run(run_id))


@command(runs, "cancel", SERVER)
@click.argument("run_id", metavar="RUN", type=click.UUID)
async def cancel(session: Session, run_id: UUID, server: str | None, token_file: Path | None, allow_http: bool) -> None:
    """Stop a run. What it has applied stays; the statement at work is rolled back."""
    async with Server(server, token_file, allow_http).client(session.output, retry_for_s=_RETRY_FOR_S) as client:
        _describe(session.output, await client.cancel_run(run_id))


@command(runs, "retry", SERVER)
@click.argument("run_id", metavar="RUN", type=click.UUID)
async def retry(session: Session, run_id: UUID, server: str | None, token_file: Path | None, allow_http: bool) -> None:
    """Migrate again where a run did not succeed, and show how it goes."""
    from uuid import uuid4

    async with Server(server, token_file, allow_http).client(session.output) as client:
        started = await client.retry_run(run_id, idempotency_key=str(uuid4()))
        session.output.interrupted_message = f"Interrupted; run {started.id} goes on."
        session.output.line(f"Run {started.id}")
        _report(session.output, await followed(client, started.id, session.output))


def _describe(output: Output, run: Run) -> None:
    output.line(f"Run {run.id} of {run.module}: {run.status}")
    output.line(f"  created {utc(run.created_at)} by {run.caller}")
    if run.started_at:
        output.line(f"  started {utc(run.started_at)}")
    if run.ended_at:
        output.line(f"  ended {utc(run.ended_at)}")
    for step in run.steps:
        output.line(f"  {step.schema}: {step.status}, {len(step.applied)} applied")
        progress = step.progress
        if progress is not None and progress.filename:
            of = f", statement {progress.statement} of {progress.statements}" if progress.statement else ""
            output.line(f"    {progress.filename}{of}")
        for one in (progress.waiting_for or ()) if progress else ():
            output.line(f"    waits for process {one.get('pid')}")
    for part in run.modules or ():
        output.line(f"  {part.module}: {part.status}{f', run {part.run_id}' if part.run_id else ''}")
    left = run.schemas.total - len(run.steps)
    if left > 0:
        output.line(f"  and {left} more schemas")
    if run.problem:
        output.line("  " + run.problem["detail"].replace("\n", "\n  "))
    output.document(_builtins(run))


def _report(output: Output, result: MigrateResult) -> None:
    output.line(f"{result.module}: {len(result.applied)} applied")
    output.document(_builtins(result))


def _builtins(one: object) -> dict[str, Any]:
    import msgspec

    document: dict[str, Any] = msgspec.to_builtins(one)
    return document
