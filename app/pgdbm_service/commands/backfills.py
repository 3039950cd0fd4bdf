"""``pgdbm backfill``: the backfills of a module of a service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

import click

from pgdbm.cli.errors import MISUSED, CommandError
from pgdbm.cli.options import command
from pgdbm.cli.output import backfill_progress, backfill_state

from .server import EXIT_CODES, SERVER, client_of, document_of

if TYPE_CHECKING:
    from pgdbm.cli.context import CommandContext

    from .server import ServerArguments


@command(None, "backfill", SERVER)
@click.argument("module")
@click.argument("filename", required=False)
@click.option("--pause/--resume", "pause", default=None, help="Stop it after its current batch, or continue.")
@click.option("--rate", type=click.IntRange(min=0), metavar="ROWS", help="Maximum rows per second; 0: no limit.")
@click.option("--schema", metavar="NAME", help="One of the module's schemas.  [default: the first]")
async def backfill(
    context: CommandContext,
    module: str,
    filename: str | None,
    pause: bool | None,
    rate: int | None,
    schema: str | None,
    **service: Unpack[ServerArguments],
) -> None:
    """Show the progress of a module's backfills; pause, resume or limit one."""
    changes = pause is not None or rate is not None
    if filename is None and changes:
        raise CommandError("Name the file of the backfill.", "usage", exit_code=MISUSED)
    async with client_of(context, service) as client:
        if filename is not None and changes:
            filename = (await client.change_backfill(module, filename, schema=schema, paused=pause, rate=rate)).filename
        found = [
            one
            async for one in client.list_backfills(module, schema=schema)
            if filename is None or filename.removesuffix(".sql") == one.filename.removesuffix(".sql")
        ]
    rows = [(one.filename, backfill_state(one), backfill_progress(one), one.waiting_for) for one in found]
    context.output.table([("FILE", "STATE", "PROGRESS", "WAITS"), *rows])
    context.output.document({"items": [document_of(one) for one in found]})


backfill.epilog = EXIT_CODES
