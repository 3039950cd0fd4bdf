"""``pgdbm wait``: until a module is migrated. For init containers, which must not start an application too early."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import click

from pgdbm.cli.options import command

from .server import EXIT_CODES, SERVER, Limit, Server

if TYPE_CHECKING:
    from pathlib import Path

    from pgdbm.cli.session import Session

    from ..client import AsyncClient, ClientError

_EVERY_S = 1.0
_MOST_NAMES = 3
# What somebody else may put right meanwhile.
_PASSES = frozenset({"not_migrated", "module_unknown", "module_invalid"})


@command(None, "wait", SERVER)
@click.argument("module")
@click.option("--require", metavar="VERSION", help="Up to this version, or file name.  [default: everything]")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=300,
    show_default=True,
    metavar="SECONDS",
    help="For how long to wait.",
)
async def wait(
    session: Session,
    module: str,
    require: str | None,
    timeout: float,
    server: str | None,
    token_file: Path | None,
    allow_http: bool,
) -> None:
    """Wait until a module is migrated, and say what for.

    It waits for the service itself too, and for a module that is not registered yet.
    """
    waiting = Waiting(session, module, require)
    limit = Limit(timeout, waiting.when_time_is_over)
    async with Server(server, token_file, allow_http).client(session.output, limit, retry_for_s=inf) as client:
        await waiting.until_ready(client)


wait.epilog = EXIT_CODES


class Waiting:
    """What is waited for, and what is in the way."""

    def __init__(self, session: Session, module: str, require: str | None) -> None:
        self._output = session.output
        self._module = module
        self._require = require
        self._in_the_way = ""

    async def until_ready(self, client: AsyncClient) -> None:
        import asyncio

        from ..client import ProblemError

        while True:
            try:
                ready = await client.module_ready(self._module, require=self._require)
            except ProblemError as problem:
                if problem.code not in _PASSES:
                    raise
                self._tell(problem)
                await asyncio.sleep(_EVERY_S)
                continue
            version = f" at version {ready.version}" if ready.version else ""
            self._output.line(f"{ready.module} (schema {ready.schema}) is ready{version}.")
            self._output.document(
                {"module": ready.module, "schema": ready.schema, "status": ready.status, "version": ready.version}
            )
            return

    def when_time_is_over(self) -> tuple[str, str | None]:
        """What to say then."""
        return f"Time is over, and {self._module} is not ready. {self._in_the_way}".rstrip(), None

    def _tell(self, problem: ClientError) -> None:
        text = str(problem)
        missing: list[str] = getattr(problem, "missing", None) or []
        if missing:
            more = f" and {len(missing) - _MOST_NAMES} more" if len(missing) > _MOST_NAMES else ""
            text = f"{self._module} waits for {', '.join(missing[:_MOST_NAMES])}{more}."
        if text != self._in_the_way:
            self._in_the_way = text
            self._output.note(text)
