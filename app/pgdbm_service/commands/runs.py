"""``pgdbm runs``: start, list, show, follow, cancel and retry runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

import click

from pgdbm.cli.options import command
from pgdbm.cli.output import utc

from .run_display import followed
from .server import EXIT_CODES, RETRY_INTERACTIVE_FOR_S, SERVER, ServerOptions, client_of, document_of

if TYPE_CHECKING:
    from uuid import UUID

    from pgdbm.cli.context import CommandContext
    from pgdbm.cli.output import Output

    from ..api.runs import MigrateAllResult, MigrateResult, Run, RunStatus
    from ..client import AsyncClient
    from .server import ServerArguments

_STATUSES = ("queued", "waiting_for_approval", "held", "running", "succeeded", "failed", "cancelled")


class RunGroup(click.Group):
    """``runs`` lists, ``runs RUN`` shows: an argument that is not a command is the id of a run."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = ["list", *args]
        elif args[0] not in self.commands and not args[0].startswith("-"):
            args = ["show", *args]
        return super().parse_args(ctx, args)


@click.group(cls=RunGroup, epilog=EXIT_CODES)
def runs() -> None:
    """Runs of a service: `pgdbm runs` lists them, `pgdbm runs RUN` shows one."""


@command(runs, "list", SERVER)
@click.option("--module", metavar="NAME", help="Only runs of this module.")
@click.option("--status", type=click.Choice(_STATUSES), help="Only runs with this status.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="The maximum number of runs.")
async def list_all(
    context: CommandContext,
    module: str | None,
    status: RunStatus | None,
    limit: int,
    **service: Unpack[ServerArguments],
) -> None:
    """List runs, newest first."""
    async with client_of(context, service) as client:
        found = [run async for run in client.list_runs(module=module, status=status, limit=limit)]
    rows = [(run.id, run.module, run.status, utc(run.created_at), utc(run.ended_at), run.created_by) for run in found]
    context.output.table([("ID", "MODULE", "STATUS", "CREATED", "ENDED", "CREATED BY"), *rows])
    context.output.document({"items": [document_of(run) for run in found]})


@command(runs, "show", SERVER)
@click.argument("run_id", metavar="RUN", type=click.UUID)
@click.option(
    "-f", "--follow", is_flag=True, help="Follow it until it ends; the exit codes are those of `pgdbm deploy`."
)
async def show(
    context: CommandContext,
    run_id: UUID,
    follow: bool,
    **service: Unpack[ServerArguments],
) -> None:
    """Show a run: its progress, what it is waiting for, how it ended."""
    retry_for_s = None if follow else RETRY_INTERACTIVE_FOR_S
    async with ServerOptions(**service).client(context.output, retry_for_s=retry_for_s) as client:
        if follow:
            context.output.interrupted_message = f"Interrupted; run {run_id} continues."
            _report(context.output, await followed(client, run_id, context.output))
        else:
            describe(context.output, await client.get_run(run_id))


@command(runs, "start", SERVER)
@click.argument("module", required=False)
@click.option("--target", metavar="VERSION", help="The last version, or file name, to apply.")
@click.option("--with-dependencies", is_flag=True, help="First migrate the modules that it depends on.")
async def start(
    context: CommandContext,
    module: str | None,
    target: str | None,
    with_dependencies: bool,
    **service: Unpack[ServerArguments],
) -> None:
    """Migrate a module, or all modules, with the service's files, and show the progress."""
    from ..client import MigrateBody, Run

    if module is None and (target is not None or with_dependencies):
        raise click.UsageError("--target and --with-dependencies need a MODULE.")
    async with ServerOptions(**service).client(context.output) as client:
        started: MigrateResult | MigrateAllResult | Run
        if module is None:
            started = await client.migrate_all(wait_s=0)
        else:
            body = MigrateBody(target=target, with_dependencies=with_dependencies, wait_s=0.0)
            started = await client.migrate(module, body)
        if isinstance(started, Run):
            await _follow(context.output, client, started)
        else:
            context.output.line("Up to date.")
            context.output.document(document_of(started))


@command(runs, "cancel", SERVER)
@click.argument("run_id", metavar="RUN", type=click.UUID)
async def cancel(context: CommandContext, run_id: UUID, **service: Unpack[ServerArguments]) -> None:
    """Cancel a run. Applied migrations stay applied; the current statement is rolled back."""
    async with client_of(context, service) as client:
        describe(context.output, await client.cancel_run(run_id))


@command(runs, "retry", SERVER)
@click.argument("run_id", metavar="RUN", type=click.UUID)
async def retry(context: CommandContext, run_id: UUID, **service: Unpack[ServerArguments]) -> None:
    """Migrate again where a run did not succeed, and show the progress."""
    from uuid import uuid4

    async with ServerOptions(**service).client(context.output) as client:
        started = await client.retry_run(run_id, idempotency_key=str(uuid4()))
        await _follow(context.output, client, started)


async def _follow(output: Output, client: AsyncClient, started: Run) -> None:
    output.interrupted_message = f"Interrupted; run {started.id} continues."
    output.line(f"Run {started.id}")
    _report(output, await followed(client, started.id, output))


def describe(output: Output, run: Run) -> None:
    """Show a run."""
    output.line(f"Run {run.id} of {run.module}: {run.status}")
    if run.start_hold is not None:
        output.line(f"  {run.start_hold.detail}")
    approval = run.approval
    if approval is not None and approval.required_count:
        count = f"{len(approval.approved_by)} of {approval.required_count}"
        output.line(f"  {count} approvals of the plan {approval.plan}")
    for given in approval.approved_by if approval is not None else ():
        output.line(f"  approved by {given.principal}{f': {given.reason}' if given.reason else ''}")
    if run.break_glass is not None:
        output.line(f"  started without approvals by {run.break_glass.principal}: {run.break_glass.reason}")
    output.line(f"  created {utc(run.created_at)} by {run.created_by}")
    if run.started_at:
        output.line(f"  started {utc(run.started_at)}")
    if run.ended_at:
        output.line(f"  ended {utc(run.ended_at)}")
    for one in run.schemas:
        output.line(f"  {one.schema}: {one.status}, {len(one.steps)} applied")
        progress = one.progress
        if progress is not None and progress.filename:
            of = f", statement {progress.statement} of {progress.statements}" if progress.statement else ""
            output.line(f"    {progress.filename}{of}")
        for blocker in (progress.waiting_for or ()) if progress else ():
            output.line(f"    waits for process {blocker.get('pid')}")
    for child in run.modules or ():
        output.line(f"  {child.module}: {child.status}{f', run {child.run_id}' if child.run_id else ''}")
    left = run.schema_counts.total - len(run.schemas)
    if left > 0:
        output.line(f"  and {left} more schemas")
    if run.problem:
        output.line("  " + run.problem["detail"].replace("\n", "\n  "))
    output.document(document_of(run))


def _report(output: Output, result: MigrateResult) -> None:
    output.line(f"{result.module}: {len(result.applied)} applied")
    output.document(document_of(result))
