"""``pgdbm overview``, ``replicas``, ``activity``, ``audit``, ``sync`` and ``unregister``: calls about a service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

import click

from pgdbm.cli.options import command
from pgdbm.cli.output import utc
from pgdbm.cli.questions import confirm

from .server import EXIT_CODES, SERVER, client_of, document_of, items_of

if TYPE_CHECKING:
    from datetime import datetime

    from pgdbm.cli.context import CommandContext

    from .server import ServerArguments


@command(None, "overview", SERVER)
async def overview(context: CommandContext, **service: Unpack[ServerArguments]) -> None:
    """Show what requires a decision, the runs in progress, and the state of each module."""
    async with client_of(context, service) as client:
        found = await client.get_overview()
    output = context.output
    output.line(f"{len(found.attention)} need attention, {len(found.running)} running, {found.replica_count} replicas")
    for one in found.attention:
        output.line(f"  {one.kind}: {one.module}: {one.detail}")
    for run in found.running:
        output.line(f"  running: {run.module}: run {run.id}")
    rows = [(one.name, one.state, one.applied, one.pending) for one in found.modules]
    output.table([("MODULE", "STATE", "APPLIED", "PENDING"), *rows])
    output.document(document_of(found))


@command(None, "replicas", SERVER)
async def replicas(context: CommandContext, **service: Unpack[ServerArguments]) -> None:
    """List the processes of a service."""
    async with client_of(context, service) as client:
        found = [one async for one in client.list_replicas()]
    rows = [(one.host, one.pid, one.version, utc(one.started_at), one.running) for one in found]
    context.output.table([("HOST", "PID", "VERSION", "STARTED", "RUNNING"), *rows])
    context.output.document(items_of(found))


@command(None, "activity", SERVER)
@click.option("--long-running", is_flag=True, help="List queries and idle transactions of 5 minutes or more.")
async def activity(context: CommandContext, long_running: bool, **service: Unpack[ServerArguments]) -> None:
    """List the sessions of the service's database that block others."""
    async with client_of(context, service) as client:
        if long_running:
            slow = [one async for one in client.list_long_running()]
            rows = [(one.pid, one.user, one.state, f"{one.duration_s:.0f}", one.query) for one in slow]
            context.output.table([("PID", "USER", "STATE", "SECONDS", "QUERY"), *rows])
            context.output.document(items_of(slow))
            return
        found = [one async for one in client.list_blocking()]
    table = [(one.pid, one.user, one.application_name, one.state, len(one.blocks), one.query) for one in found]
    context.output.table([("PID", "USER", "APPLICATION", "STATE", "BLOCKS", "QUERY"), *table])
    context.output.document(items_of(found))


@command(None, "terminate", SERVER)
@click.argument("pid", type=click.IntRange(min=1))
@click.option(
    "--backend-start",
    type=click.DateTime(["%Y-%m-%dT%H:%M:%S.%f%z", "%Y-%m-%dT%H:%M:%S%z"]),
    metavar="TIME",
    help="When the session started, as reported by the service; required unless it is blocking a migration now.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
async def terminate(
    context: CommandContext, pid: int, backend_start: datetime | None, yes: bool, **service: Unpack[ServerArguments]
) -> None:
    """End a session of the service's database that blocks a migration, and roll back its transaction."""
    if not yes:
        confirm(f"Terminate the session with pid {pid}?")
    async with client_of(context, service) as client:
        found = await client.terminate_backend(pid, backend_start=backend_start)
    who = found.application_name or "no application name"
    context.output.line(f"Terminated {found.pid} ({who}, user {found.user}).")
    context.output.document(document_of(found))


@command(None, "audit", SERVER)
@click.option("--module", metavar="NAME", help="Only requests about this module.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="The maximum number of items.")
async def audit(context: CommandContext, module: str | None, limit: int, **service: Unpack[ServerArguments]) -> None:
    """List the requests that changed something, including refused ones, newest first."""
    async with client_of(context, service) as client:
        found = [one async for one in client.get_audit(module=module, limit=limit)]
    rows = [(utc(one.at), one.principal, one.method, one.path, one.module, one.http_status) for one in found]
    context.output.table([("AT", "PRINCIPAL", "METHOD", "PATH", "MODULE", "STATUS"), *rows])
    context.output.document(items_of(found))


@command(None, "sync", SERVER)
async def sync(context: CommandContext, **service: Unpack[ServerArguments]) -> None:
    """Make a service read its migrations repository now."""
    async with client_of(context, service) as client:
        found = await client.sync_repository()
    context.output.line(
        f"{len(found.added)} added, {len(found.changed)} changed, {len(found.removed)} removed, "
        f"{len(found.invalid)} invalid"
    )
    context.output.document(document_of(found))


@command(None, "unregister", SERVER)
@click.argument("module")
@click.option("--force", is_flag=True, help="Even if other registered modules depend on it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
async def unregister(
    context: CommandContext, module: str, force: bool, yes: bool, **service: Unpack[ServerArguments]
) -> None:
    """Unregister a module. Its schemas, data and history stay."""
    if not yes:
        confirm(f"Unregister {module}?")
    async with client_of(context, service) as client:
        found = await client.unregister_module(module, force=force or None)
    context.output.line(f"{module}: unregistered")
    context.output.document(document_of(found))


COMMANDS: tuple[click.Command, ...] = (overview, replicas, activity, terminate, audit, sync, unregister)
for one in COMMANDS:
    one.epilog = EXIT_CODES
