"""Processes that migrate and are killed, as tests see them. See :mod:`victim`."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .plans import MigrationPlan

_SCRIPT = Path(__file__).with_name("victim.py")
_LONGEST_LINE = 64 * 1024 * 1024


class Victims:
    """Starts processes that migrate: ``send`` returns once they have started, ``answers`` once they have ended."""

    def __init__(self, process: asyncio.subprocess.Process, dsn: str) -> None:
        self._process = process
        self._dsn = dsn

    async def send(self, schema: str, plan: MigrationPlan, **order: Any) -> None:
        """``runners``, ``listens``, ``kill_at_event``, ``kill_after_s``, ``freeze_after_s``, ``manager`` options.

        ``every_event``: events of progress count, too. ``dsn``: another server. With ``revert`` they revert that many
        migrations instead.
        """
        whole = {"dsn": self._dsn, "schema": schema, "files": plan.files, "apply": plan.apply, **order}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(whole).encode() + b"\n")
        await self._process.stdin.drain()
        assert await self.line() == "began"

    async def wake(self) -> None:
        """Let the processes that were frozen continue."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        await self._process.stdin.drain()

    async def answers(self) -> list[dict[str, Any]]:
        """For every process: ``signal``, ``events``, and ``result`` or ``error``, ``message``, ``details``."""
        answer: list[dict[str, Any]] = await self.line()
        return answer

    async def migrate(self, schema: str, plan: MigrationPlan, **order: Any) -> list[dict[str, Any]]:
        await self.send(schema, plan, **order)
        return await self.answers()

    async def line(self) -> Any:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        assert line, "the process that starts the victims has ended"
        return json.loads(line)


@asynccontextmanager
async def victims(dsn: str) -> AsyncIterator[Victims]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(_SCRIPT),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LONGEST_LINE,
    )
    started = Victims(process, dsn)
    assert await started.line() == "ready"
    try:
        yield started
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
