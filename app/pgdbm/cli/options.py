"""Shared options, and the decorator that turns a function into a command."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import click

from ..errors import AsyncDBError
from .context import CommandContext
from .errors import CommandError, ModuleFailedError
from .output import Output

Answer = int | None
Body = Callable[..., Answer | Coroutine[Any, Any, Answer]]

SHARED: tuple[click.Parameter, ...] = (
    click.Option(
        ["--config", "config_file"],
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="The configuration file.  [default: pgdbm.toml here or in a folder above]",
    ),
    click.Option(["--env", "environment"], metavar="NAME", help="Use the configuration's [environments.NAME]."),
    click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON document, for errors too."),
    click.Option(["-v", "--verbose"], is_flag=True, help="Log more to stderr."),
)
DATABASE: tuple[click.Parameter, ...] = (
    click.Option(["--database-url", "given_url"], metavar="URL", help="Overrides the configuration and DATABASE_URL."),
    click.Option(
        ["--wait"],
        type=click.FloatRange(min=0),
        default=0.0,
        metavar="SECONDS",
        help="Keep trying to connect for this many seconds.",
    ),
)
MODULE: tuple[click.Parameter, ...] = (
    click.Option(
        ["-m", "--module", "module_options"], multiple=True, metavar="NAME", help="A module; can be repeated."
    ),
    click.Option(
        ["--dir", "folder"],
        type=click.Path(path_type=Path, file_okay=False),
        metavar="FOLDER",
        help="A folder of migrations, instead of the configured modules.  [default without pgdbm.toml: migrations]",
    ),
    click.Option(["--schema"], metavar="NAME", help="The PostgreSQL schema of a single module."),
)
MODULES: tuple[click.Parameter, ...] = (
    click.Argument(["module_names"], nargs=-1, metavar="[MODULE]..."),
    *MODULE,
)


def seconds_option(
    name: str, text: str, *, default: float | None = None, at_least: float = 0, positive: bool = False
) -> Callable[[Body], Body]:
    """An option whose value is a number of seconds; ``text`` is its help."""
    return click.option(
        name,
        type=click.FloatRange(min=at_least, min_open=positive),
        default=default,
        show_default=default is not None,
        metavar="SECONDS",
        help=text,
    )


def command(
    group: click.Group | None, name: str, *options: Sequence[click.Parameter]
) -> Callable[[Body], click.Command]:
    """Turn a function, or coroutine function, into the command ``name`` of ``group``.

    It receives a :class:`CommandContext` and returns the exit code, or None for 0. Its errors are reported. ``options``
    follow the function's own options, and SHARED comes last. Without ``group`` the command is not added to a group.
    """

    def make(body: Body) -> click.Command:
        @wraps(body)
        def call(
            *,
            config_file: Path | None,
            environment: str | None,
            as_json: bool,
            verbose: bool,
            given_url: str | None = None,
            wait: float = 0.0,
            **arguments: Any,
        ) -> int:
            logging.basicConfig(
                level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
            )
            context = CommandContext(Output(as_json=as_json), config_file, environment, given_url, wait)
            return _run(body, context, arguments)

        made = click.command(name)(call)
        for parameters in (*options, SHARED):
            made.params.extend(parameters)
        if group is not None:
            group.add_command(made)
        return made

    return make


def _run(body: Body, context: CommandContext, arguments: dict[str, Any]) -> int:
    try:
        answer = body(context, **arguments)
        if answer is None or isinstance(answer, int):
            return answer or 0
        from .signals import TerminatedError, run_to_end

        try:
            return run_to_end(answer) or 0
        except TerminatedError:
            return context.output.interrupted(143)
    except KeyboardInterrupt:
        return context.output.interrupted(130)
    except (CommandError, ModuleFailedError, AsyncDBError, OSError) as error:
        return context.output.error(error)
    except (click.ClickException, click.Abort, click.exceptions.Exit):
        raise
    except Exception as error:
        logging.getLogger("pgdbm").exception("Unexpected error; please report it as a defect of pgdbm:")
        return context.output.error(error)
