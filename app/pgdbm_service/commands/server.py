"""The options that select a service, a client of it, and its problems as errors of the command line."""

from __future__ import annotations

import os
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import click

from pgdbm.cli.errors import FAILED, MISUSED, CommandError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from contextlib import AbstractAsyncContextManager

    from pgdbm.cli.context import CommandContext
    from pgdbm.cli.output import Output

    from ..client import AsyncClient, ClientError, ProblemError, Retry

CONFLICT = 4
NOT_ALLOWED = 5
UNAVAILABLE = 6
TIMED_OUT = 7

EXIT_CODES = """\b
Exit codes:
  0    done, or there was nothing to do
  1    failed: the SQL, or an invalid file
  2    wrong usage or configuration; an unknown name
  4    conflict: an applied file was modified, or the module was changed concurrently
  5    the token is missing, unknown, or lacks a scope
  6    the service, or its database, is unavailable; a retry may succeed
  7    timed out
  130  interrupted (143 by SIGTERM)
"""

_EXIT_CODES = {
    400: MISUSED,
    401: NOT_ALLOWED,
    403: NOT_ALLOWED,
    404: MISUSED,
    408: UNAVAILABLE,
    409: CONFLICT,
    412: CONFLICT,
    429: UNAVAILABLE,
    502: UNAVAILABLE,
    503: UNAVAILABLE,
    504: UNAVAILABLE,
}
# How long a call is retried, in seconds: for a pipeline, which may be deploying the service at the same time, and for a
# person, who is waiting.
_RETRY_FOR_S = 60.0
RETRY_INTERACTIVE_FOR_S = 10.0
# The duration of an attempt.
_ATTEMPT_S = 30.0
# Fields that are reported elsewhere, or that matter only for HTTP.
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
        help="The file with the token; by default the variable PGDBM_TOKEN is used.",
    ),
    click.Option(
        ["--allow-http"],
        envvar="PGDBM_ALLOW_HTTP",
        show_envvar=True,
        is_flag=True,
        help="Allow sending the token without TLS, over a trusted network.",
    ),
)


@dataclass(frozen=True, slots=True)
class Deadline:
    """The time limit of a command. ``timeout_message`` returns the message and the hint for its timeout."""

    seconds: float
    timeout_message: Callable[[], tuple[str, str | None]]


class ServerArguments(TypedDict):
    """The values of the SERVER options, as a command receives them."""

    server: str | None
    token_file: Path | None
    allow_http: bool


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """The values of the SERVER options."""

    server: str | None
    token_file: Path | None
    allow_http: bool

    @asynccontextmanager
    async def client(
        self,
        output: Output,
        limit: Deadline | None = None,
        *,
        retry_for_s: float | None = None,
        folder: Path | None = None,
    ) -> AsyncIterator[AsyncClient]:
        """A client whose errors are raised as CommandError, and whose retries are reported.

        ``folder`` contains the files that problems refer to: their lines are shown.
        """
        try:
            from ..client import AsyncClient, ClientError
        except ModuleNotFoundError as error:
            raise CommandError(
                f"The command calls the service over HTTP, but {error.name} is not installed.",
                "usage",
                exit_code=MISUSED,
                hint="Install pgdbm[client].",
            ) from None
        if not self.server:
            raise CommandError(
                "The service is not specified.", "usage", exit_code=MISUSED, hint="Set PGDBM_SERVER, or use --server."
            )
        import asyncio

        retries = _Retries(output)
        try:
            async with (
                asyncio.timeout(limit.seconds if limit else None),
                AsyncClient(
                    self.server,
                    self._token(),
                    allow_http=self.allow_http,
                    retry_for_s=_RETRY_FOR_S if retry_for_s is None else retry_for_s,
                    on_retry=retries.report,
                ) as client,
            ):
                yield client
        except ClientError as error:
            raise command_error(error, folder) from error
        except TimeoutError:
            text, hint = limit.timeout_message() if limit else ("Timed out.", None)
            raise CommandError(
                " ".join([text, *retries.in_progress()]), "timed_out", exit_code=TIMED_OUT, hint=hint
            ) from None

    def _token(self) -> Callable[[], str] | str | None:
        if self.token_file is None:
            return os.environ.get("PGDBM_TOKEN", "").strip() or None
        file = self.token_file

        # Read for each request: short-lived tokens are renewed in the file.
        def read() -> str:
            return file.read_text("utf-8").strip()

        read()
        return read


def command_error(error: ClientError, folder: Path | None = None) -> CommandError:
    """``error`` for the command line. File names in it refer to ``folder``."""
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
    for label in ("detail", "context"):
        text = problem.fields.get(f"database_{label}")
        if text:
            message += f"\n{label.capitalize()}: {text}"
    if problem.module is not None and problem.schema is not None:
        message += f"\nModule {problem.module}, schema {problem.schema}."
    if problem.diff is not None:
        message += f"\n{problem.diff}"
    if problem.code == "unauthenticated":
        hint = "Set PGDBM_TOKEN, or use --token-file. `pgdbm token create` makes a token."
    if folder is not None and problem.filename is not None:
        fields["file"] = str(folder / problem.filename)
        message = message.replace(problem.filename, fields["file"], 1)
    return CommandError(message, problem.code, exit_code=_EXIT_CODES.get(problem.status, FAILED), hint=hint, **fields)


class _Retries:
    """Reports each reason for a retry once."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._reported: set[str] = set()
        self._last = ("", 0.0)

    def report(self, retry: Retry) -> None:
        text = str(retry.error).splitlines()[0]
        self._last = (text, time.monotonic() + retry.pause_s + _ATTEMPT_S)
        if text not in self._reported:
            self._reported.add(text)
            self._output.note(f"{text} Trying again.")

    def in_progress(self) -> list[str]:
        """The reason for the retry in progress, if there is one."""
        text, until = self._last
        return [text] if time.monotonic() < until else []


def client_of(context: CommandContext, service: ServerArguments) -> AbstractAsyncContextManager[AsyncClient]:
    """A client for an interactive call; otherwise the same as :meth:`ServerOptions.client`."""
    return ServerOptions(**service).client(context.output, retry_for_s=RETRY_INTERACTIVE_FOR_S)


def document_of(one: object) -> dict[str, object]:
    """A struct of the API as the JSON document of a command."""
    import msgspec

    document: dict[str, object] = msgspec.to_builtins(one)
    return document


def items_of(found: Iterable[object]) -> dict[str, object]:
    """A list of structs as the JSON document of a command."""
    return {"items": [document_of(one) for one in found]}
