"""Options that commands share, and the decorator that makes a command of a function."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import click

from .output import Output
from .problems import CommandError, ModuleFailedError
from .session import Session

Answer = int | None
Body = Callable[..., Answer | Coroutine[Any, Any, Answer]]

SHARED: tuple[click.Parameter, ...] = (
    click.Option(
        ["--config", "config_file"],
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="The configuration.  [default: pgdbm.toml here or in a folder above]",
    ),
    click.Option(["--env", "environment"], metavar="NAME", help="Use [environments.NAME] of it."),
    click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON document, errors too."),
    click.Option(["-v", "--verbose"], is_flag=True, help="Log more, to stderr."),
)
DATABASE: tuple[click.Parameter, ...] = (
    click.Option(
        ["--database-url", "given_url"], metavar="URL", help="Instead of the configuration's or DATABASE_URL."
    ),
    click.Option(
        ["--wait"],
        type=click.FloatRange(min=0),
        default=0.0,
        metavar="SECONDS",
        help="Keep trying to connect for this long.",
    ),
)
MODULE: tuple[click.Parameter, ...] = (
    click.Option(
        ["-m", "--module", "module_options"], multiple=True, metavar="NAME", help="A module; may be repeated."
    ),
    click.Option(
        ["--dir", "folder"],
        type=click.Path(path_type=Path, file_okay=False),
        metavar="FOLDER",
        help="A folder of migrations, instead of the configured modules.  [default without pgdbm.toml: migrations]",
    ),
    click.Option(["--schema"], metavar="NAME", help="The PostgreSQL schema of the one module."),
)
MODULES: tuple[click.Parameter, ...] = (
    click.Argument(["module_names"], nargs=-1, metavar="[MODULE]..."),
    *MODULE,
)


def command(
    group: click.Group | None, name: str, *options: Sequence[click.Parameter]
) -> Callable[[Body], click.Command]:
    """Make ``group name`` of a function that takes a :class:`Session` and returns the exit code, None being 0.

    Without a ``group``, whoever finds the command adds it to one.
    ``options`` come after the function's own, SHARED after all. The function may be a coroutine function. Errors
    that it raises are reported.
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
            import logging

            logging.basicConfig(
                level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
            )
            return _run(body, Session(Output(as_json=as_json), config_file, environment, given_url, wait), arguments)

        made = click.command(name)(call)
        for parameters in (*options, SHARED):
            made.params.extend(parameters)
        if group is not None:
            group.add_command(made)
        return made

    return make


def _run(body: Body, session: Session, arguments: dict[str, Any]) -> int:
    from ..errors import AsyncDBError

    try:
        answer = body(session, **arguments)
        if answer is None or isinstance(answer, int):
            return answer or 0
        from .run import TerminatedError, run_to_end

        try:
            return run_to_end(answer) or 0
        except TerminatedError:
            return session.output.interrupted(143)
    except KeyboardInterrupt:
        return session.output.interrupted(130)
    except (CommandError, ModuleFailedError, AsyncDBError, OSError) as error:
        return session.output.error(error)
    except (click.ClickException, click.Abort, click.exceptions.Exit):
        raise
    except Exception as error:
        import logging

        logging.getLogger("pgdbm").exception("This is a defect of pgdbm:")
        return session.output.error(error)
