"""The options that say which service is meant, the way there, and its problems in the command line's words."""

from __future__ import annotations

import os
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pgdbm.cli.problems import FAILED, MISUSED, CommandError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pgdbm.cli.output import Output

    from ..client import AsyncClient, ClientError, ProblemError, Retry

CONFLICT = 4
NOT_ALLOWED = 5
UNAVAILABLE = 6
TIMED_OUT = 7

EXIT_CODES = """\b
Exit codes:
  0    done, or there was nothing to do
  1    failed: the SQL, or a file that is not right
  2    wrong usage or configuration; nothing of that name
  4    conflict: an applied file was changed, or something has moved meanwhile
  5    the token is missing, not known, or lacks a scope
  6    the service, or its database, is not available; another try may work
  7    the time was over
  130  interrupted (143 by SIGTERM)
"""

_EXIT_CODES = {
    400: MISUSED,
    401: NOT_ALLOWED,
    403: NOT_ALLOWED,
    404: MISUSED,
    409: CONFLICT,
    412: CONFLICT,
    429: UNAVAILABLE,
    502: UNAVAILABLE,
    503: UNAVAILABLE,
    504: UNAVAILABLE,
}
RETRY_FOR_S = 60.0
# In which an attempt comes to its end.
_ATTEMPT_S = 30.0
# Said otherwise, or of HTTP alone.
_NOT_FIELDS = frozenset({"type", "title", "detail", "instance", "code", "hint"})

SERVER: tuple[click.Parameter, ...] = (
    click.Option(
        ["--server"], envvar="PGDBM_SERVER", show_envvar=True, metavar="URL", help="The service: https://HOST[:PORT]."
    ),
    click.Option(
        ["--token-file"],
        envvar="PGDBM_TOKEN_FILE",
        show_envvar=True,
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Where the token is; without it, the variable PGDBM_TOKEN holds it.",
    ),
    click.Option(
        ["--allow-http"],
        envvar="PGDBM_ALLOW_HTTP",
        show_envvar=True,
        is_flag=True,
        help="Send the token without TLS too, over a network that is trusted.",
    ),
)


@dataclass(frozen=True, slots=True)
class Limit:
    """How long a command may take; ``when_over`` has the message, and the hint, for when it took longer."""

    seconds: float
    when_over: Callable[[], tuple[str, str | None]]


@dataclass(frozen=True, slots=True)
class Server:
    """What the options of SERVER say."""

    address: str | None
    token_file: Path | None
    allow_http: bool

    @asynccontextmanager
    async def client(
        self,
        output: Output,
        limit: Limit | None = None,
        *,
        retry_for_s: float | None = None,
        folder: Path | None = None,
    ) -> AsyncIterator[AsyncClient]:
        """A client, whose errors become the command's. It tells of what it tries again.

        ``folder`` is where the files are that problems are about: their lines are shown.
        """
        try:
            from ..client import AsyncClient, ClientError
        except ModuleNotFoundError as error:
            raise CommandError(
                f"The command asks the service over HTTP, and {error.name} is not installed.",
                "usage",
                exit_code=MISUSED,
                hint="Install pgdbm[client].",
            ) from None
        if not self.address:
            raise CommandError(
                "No service is named.", "usage", exit_code=MISUSED, hint="Set PGDBM_SERVER, or give --server."
            )
        import asyncio

        retries = _Retries(output)
        try:
            async with (
                asyncio.timeout(limit.seconds if limit else None),
                AsyncClient(
                    self.address,
                    self._token(),
                    allow_http=self.allow_http,
                    retry_for_s=RETRY_FOR_S if retry_for_s is None else retry_for_s,
                    on_retry=retries.tell,
                ) as client,
            ):
                yield client
        except ClientError as error:
            raise command_error(error, folder) from error
        except TimeoutError:
            text, hint = limit.when_over() if limit else ("Time is over.", None)
            raise CommandError(
                " ".join([text, *retries.under_way()]), "timed_out", exit_code=TIMED_OUT, hint=hint
            ) from None

    def _token(self) -> Callable[[], str] | str | None:
        if self.token_file is None:
            return os.environ.get("PGDBM_TOKEN", "").strip() or None
        file = self.token_file

        # Each time anew: whoever gives short-lived tokens writes them there.
        def read() -> str:
            return file.read_text("utf-8").strip()

        read()
        return read


def command_error(error: ClientError, folder: Path | None = None) -> CommandError:
    """``error`` as it is reported. What it says of a file is about the one in ``folder``."""
    from ..client import ProblemError, UnexpectedAnswerError, UnreachableError, UnsafeServerError

    match error:
        case ProblemError():
            return _of_problem(error, folder)
        case UnreachableError():
            return CommandError(str(error), "service_unreachable", exit_code=UNAVAILABLE)
        case UnexpectedAnswerError():
            exit_code = UNAVAILABLE if error.status >= 500 else FAILED
            return CommandError(str(error), "unexpected_answer", exit_code=exit_code)
        case UnsafeServerError():
            hint = "--allow-http, or PGDBM_ALLOW_HTTP=1, allows it."
            return CommandError(str(error), "refused", exit_code=MISUSED, hint=hint)
        case _:
            return CommandError(str(error), "usage", exit_code=MISUSED)


def _of_problem(problem: ProblemError, folder: Path | None) -> CommandError:
    fields = {name: value for name, value in problem.fields.items() if name not in _NOT_FIELDS}
    message, hint = problem.detail, problem.hint
    if problem.module is not None and problem.schema is not None:
        message += f"\nModule {problem.module}, schema {problem.schema}."
    if problem.diff is not None:
        message += f"\n{problem.diff}"
    if problem.code == "unauthenticated":
        hint = "Set PGDBM_TOKEN, or give --token-file. `pgdbm token create` makes a token."
    if folder is not None and problem.filename is not None:
        fields["file"] = str(folder / problem.filename)
        message = message.replace(problem.filename, fields["file"], 1)
    return CommandError(message, problem.code, exit_code=_EXIT_CODES.get(problem.status, FAILED), hint=hint, **fields)


class _Retries:
    """Tells of each reason for which something is tried again, once."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._told: set[str] = set()
        self._last = ("", 0.0)

    def tell(self, retry: Retry) -> None:
        text = str(retry.error).splitlines()[0]
        self._last = (text, time.monotonic() + retry.pause_s + _ATTEMPT_S)
        if text not in self._told:
            self._told.add(text)
            self._output.note(f"{text} Trying again.")

    def under_way(self) -> list[str]:
        """The reason for which something is being tried again now, if there is one."""
        text, until = self._last
        return [text] if time.monotonic() < until else []
