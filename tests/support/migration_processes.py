"""Child processes that run migrations."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from types import TracebackType

_SCRIPT = Path(__file__).with_name("migration_process.py")


class MigrationProcess:
    """One ``migration_process.py`` process; ``settings`` are those of its DatabaseConfig."""

    def __init__(self, dsn: str, **settings: Any) -> None:
        self._arguments = (dsn, json.dumps(settings))
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(_SCRIPT),
            *self._arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert await self._answer() == "ready"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        process = self.process
        if process.returncode is None:
            assert process.stdin is not None
            process.stdin.close()
            await process.wait()

    @property
    def process(self) -> asyncio.subprocess.Process:
        assert self._process is not None
        return self._process

    async def send(self, schema: str, files: Mapping[str, str], **options: Any) -> None:
        """Start a migration."""
        assert self.process.stdin is not None
        order = {"schema": schema, "files": dict(files), "options": options}
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        await self.process.stdin.drain()

    async def migrate(self, schema: str, files: Mapping[str, str], **options: Any) -> dict[str, Any]:
        """Migrate and return the result."""
        await self.send(schema, files, **options)
        answer: dict[str, Any] = await self._answer()
        return answer

    async def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        await self.process.wait()

    async def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        assert line, "the process ended without an answer"
        return json.loads(line)


@asynccontextmanager
async def migration_processes(dsn: str, count: int, **settings: Any) -> AsyncIterator[list[MigrationProcess]]:
    """``count`` processes, started side by side."""
    async with AsyncExitStack() as stack:
        yield list(
            await asyncio.gather(*(stack.enter_async_context(MigrationProcess(dsn, **settings)) for _ in range(count)))
        )
