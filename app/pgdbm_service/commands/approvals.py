"""``pgdbm approve`` and ``pgdbm reject``: decisions about a service's runs that wait for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

import click

from pgdbm.cli.errors import CommandError
from pgdbm.cli.options import command
from pgdbm.cli.questions import confirm

from .runs import describe
from .server import EXIT_CODES, SERVER, client_of

if TYPE_CHECKING:
    from uuid import UUID

    from pgdbm.cli.context import CommandContext
    from pgdbm.cli.output import Output

    from ..api.runs import Run
    from ..client import AsyncClient
    from .server import ServerArguments

_SHORT_DIGEST = len("sha256:") + 12
_MOST_SCHEMAS = 5


@command(None, "approve", SERVER)
@click.argument("run_id", metavar="RUN", type=click.UUID)
@click.option("--plan", metavar="DIGEST", help="The digest of the plan that was read. Without it, the plan is shown.")
@click.option("--reason", metavar="TEXT", help="The reason; some modules require one.")
@click.option("--break-glass", is_flag=True, help="In an emergency: start it without approvals. Needs --reason.")
@click.option("--yes", is_flag=True, help="Do not ask.")
async def approve(
    context: CommandContext,
    run_id: UUID,
    plan: str | None,
    reason: str | None,
    break_glass: bool,
    yes: bool,
    **service: Unpack[ServerArguments],
) -> None:
    """Approve the plan of a run that someone else requested."""
    if break_glass and reason is None:
        raise click.UsageError("--break-glass requires --reason.")
    async with client_of(context, service) as client:
        run = await client.get_run(run_id)
        if plan is None and run.approval is not None:
            plan = run.approval.plan
            await _show_plan(client, context.output, run)
        if not yes:
            verb = "Break the glass and start" if break_glass else "Approve"
            confirm(f"{verb} run {run_id} of {run.module}?")
        if break_glass:
            assert reason is not None
            run = await client.break_glass(run_id, reason)
        elif plan is None:
            raise CommandError(
                f"Run {run_id} of {run.module} is {run.status}: it needs no approval.", "run_not_waiting"
            )
        else:
            run = await client.approve_run(run_id, plan, reason=reason)
    describe(context.output, run)


@command(None, "reject", SERVER)
@click.argument("run_id", metavar="RUN", type=click.UUID)
@click.option("--reason", metavar="TEXT", help="The reason; shown to those who wait for the run.")
async def reject(context: CommandContext, run_id: UUID, reason: str | None, **service: Unpack[ServerArguments]) -> None:
    """Reject a run that waits for approvals. Nothing is applied."""
    async with client_of(context, service) as client:
        run = await client.reject_run(run_id, reason=reason)
    describe(context.output, run)


async def _show_plan(client: AsyncClient, output: Output, run: Run) -> None:
    """What the run would apply now, in its first schema."""
    assert run.approval is not None
    output.line(f"Run {run.id} of {run.module}, requested by {run.created_by}")
    output.line(f"Plan {run.approval.plan[:_SHORT_DIGEST]} in {', '.join(_schemas(run))}:")
    for one in run.schemas[:1]:
        plan = await client.get_plan(run.module, schema=one.schema, target=run.options.target)
        for migration in plan.pending:
            output.line(f"  {migration.filename}: {migration.impact}")
            for finding in migration.findings:
                output.line(f"    {finding.severity}: {finding.message}")


def _schemas(run: Run) -> list[str]:
    named = [one.schema for one in run.schemas[:_MOST_SCHEMAS]]
    more = run.schema_counts.total - len(named)
    return [*named, f"{more} more"] if more > 0 else named


COMMANDS: tuple[click.Command, ...] = (approve, reject)
for one in COMMANDS:
    one.epilog = EXIT_CODES
