"""``pgdbm wait``: wait until a module is migrated, for init containers."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Unpack

import click

from pgdbm.cli.options import command, seconds_option

from .server import EXIT_CODES, SERVER, Deadline, ServerOptions

if TYPE_CHECKING:
    from pgdbm.cli.context import CommandContext

    from ..client import AsyncClient, ClientError
    from .server import ServerArguments

_EVERY_S = 1.0
_MAX_NAMES = 3
# Problems that another deployment may resolve.
_TEMPORARY = frozenset({"not_migrated", "module_unknown", "module_invalid"})


@command(None, "wait", SERVER)
@click.argument("module")
@click.option("--require", metavar="VERSION", help="The version, or file name, that must be applied.  [default: all]")
@seconds_option("--timeout", "How long to wait.", default=300, positive=True)
async def wait(
    context: CommandContext,
    module: str,
    require: str | None,
    timeout: float,
    **service: Unpack[ServerArguments],
) -> None:
    """Wait until a module is migrated, and report what is missing.

    It also waits for the service itself, and for a module that is not registered yet.
    """
    waiting = ReadinessWait(context, module, require)
    limit = Deadline(timeout, waiting.timeout_message)
    async with ServerOptions(**service).client(context.output, limit, retry_for_s=inf) as client:
        await waiting.until_ready(client)


wait.epilog = EXIT_CODES


class ReadinessWait:
    """Polls the readiness of a module."""

    def __init__(self, context: CommandContext, module: str, require: str | None) -> None:
        self._output = context.output
        self._module = module
        self._require = require
        self._reason = ""

    async def until_ready(self, client: AsyncClient) -> None:
        import asyncio

        from ..client import ProblemError

        while True:
            try:
                ready = await client.module_ready(self._module, require=self._require)
            except ProblemError as problem:
                if problem.code not in _TEMPORARY:
                    raise
                self._report(problem)
                await asyncio.sleep(_EVERY_S)
                continue
            version = f" at version {ready.version}" if ready.version else ""
            self._output.line(f"{ready.module} (schema {ready.schema}) is ready{version}.")
            self._output.document(
                {"module": ready.module, "schema": ready.schema, "state": ready.state, "version": ready.version}
            )
            return

    def timeout_message(self) -> tuple[str, str | None]:
        """The message and hint after the timeout."""
        return f"Timed out; {self._module} is not ready. {self._reason}".rstrip(), None

    def _report(self, problem: ClientError) -> None:
        text = str(problem)
        missing: list[str] = getattr(problem, "missing", None) or []
        if missing:
            more = f" and {len(missing) - _MAX_NAMES} more" if len(missing) > _MAX_NAMES else ""
            text = f"{self._module} is waiting for {', '.join(missing[:_MAX_NAMES])}{more}."
        if text != self._reason:
            self._reason = text
            self._output.note(text)
