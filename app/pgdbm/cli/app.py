"""The command ``pgdbm``, with its groups and the commands of installed packages.

Whatever is imported here is loaded for every command, and all command modules are loaded for ``--help``: none of them
may import asyncpg, postgast, rich or asyncio at its top.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from ..version import __version__
from .groups import LateGroup
from .migrate import migrate
from .output import Output

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

EXIT_CODES = """\b
Exit codes:
  0    success, or nothing to do
  1    failed
  2    wrong usage or configuration
  3    --check was given and migrations are pending
  130  interrupted (143 by SIGTERM)
"""


def _print_version(context: click.Context, _parameter: click.Parameter, given: bool) -> None:
    if given:
        click.echo(f"pgdbm {__version__}")
        context.exit()


class Root(LateGroup):
    """The commands of pgdbm, and those of the entry point group ``pgdbm.commands`` of installed packages."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_added().names})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = super().get_command(ctx, cmd_name)
        if found is None:
            # Deferred as long as possible: finding entry points reads the metadata of every installed package.
            for entry in _added().select(name=cmd_name):
                added: click.Command = entry.load()
                return added
        return found


def _added() -> EntryPoints:
    from importlib.metadata import entry_points

    return entry_points(group="pgdbm.commands")


@click.group(
    cls=Root,
    late={"db": "database:db", "dev": "dev:dev", "init": "init:init", "schema": "schema:schema"},
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Show the version."
)
def root() -> None:
    """PostgreSQL migrations for many modules in one database.

    The modules and the database are configured in pgdbm.toml (see `pgdbm init`), or given with --dir, --module,
    --schema and --database-url. Options follow the command: `pgdbm migrate apply --env production`.
    """


root.add_command(migrate)


def run(arguments: list[str] | None = None) -> int:
    """Run ``pgdbm`` with ``arguments``; returns the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    output = Output(as_json="--json" in given)
    try:
        result: Any = root.main(given, prog_name="pgdbm", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.UsageError as error:
        return output.usage_error(error)
    except click.Abort:
        return output.interrupted(130)
    except BrokenPipeError:
        output.close_stdout()
        return 0
    return result if isinstance(result, int) else 0
