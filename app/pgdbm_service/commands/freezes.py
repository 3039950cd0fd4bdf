"""``pgdbm freeze``: set, list and lift freezes of a service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

import click

from pgdbm.cli.options import command
from pgdbm.cli.output import utc

from .server import EXIT_CODES, SERVER, client_of, document_of

if TYPE_CHECKING:
    from datetime import datetime

    from pgdbm.cli.context import CommandContext
    from pgdbm.cli.output import Output

    from ..api.freezes import Freeze
    from .server import ServerArguments


class FreezeGroup(click.Group):
    """``freeze`` lists."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group(cls=FreezeGroup, epilog=EXIT_CODES)
def freeze() -> None:
    """Freezes of a service: while one is in force, no run of its modules starts."""


@command(freeze, "set", SERVER)
@click.argument("modules", metavar="GLOB", default="*")
@click.option("--reason", required=True, metavar="TEXT", help="The reason; shown to everyone who waits.")
@click.option(
    "--until",
    type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M%z"]),
    metavar="TIME",
    help="When it ends, such as 2030-01-31T06:00+01:00.  [default: when it is lifted]",
)
async def set_freeze(
    context: CommandContext, modules: str, reason: str, until: datetime | None, **service: Unpack[ServerArguments]
) -> None:
    """Freeze the modules that the glob matches, by default all. Runs that have started continue."""
    async with client_of(context, service) as client:
        found = await client.freeze(reason, modules=modules, until=until)
    context.output.line(f"{found.modules}: frozen {f'until {utc(found.until)}' if found.until else 'until lifted'}")
    context.output.document(document_of(found))


@command(freeze, "list", SERVER)
async def list_freezes(context: CommandContext, **service: Unpack[ServerArguments]) -> None:
    """List the freezes in force."""
    async with client_of(context, service) as client:
        _show(context.output, [one async for one in client.list_freezes()])


@command(freeze, "lift", SERVER)
@click.argument("modules", metavar="[GLOB]", required=False)
@click.option("--reason", metavar="TEXT", help="The reason; written to the audit.")
async def lift(
    context: CommandContext, modules: str | None, reason: str | None, **service: Unpack[ServerArguments]
) -> None:
    """End the freeze with this glob, or all of them. The runs that they held start."""
    async with client_of(context, service) as client:
        found = await client.lift_freeze(modules=modules, reason=reason)
    context.output.line(f"{len(found.items)} lifted")
    context.output.document({"items": [document_of(one) for one in found.items]})


def _show(output: Output, found: list[Freeze]) -> None:
    rows = [(one.modules, utc(one.until), one.frozen_by, utc(one.frozen_at), one.reason) for one in found]
    output.table([("MODULES", "UNTIL", "FROZEN BY", "FROZEN", "REASON"), *rows])
    output.document({"items": [document_of(one) for one in found]})
