"""Child processes, with their output."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import asyncpg

from pgdbm.embedded import server

if TYPE_CHECKING:
    from collections.abc import Callable


APP = Path(server.__file__).parents[2]
DEADLINE_S = 30.0


def query(dsn: str, sql: str) -> Any:
    async def ask() -> Any:
        connection = await asyncpg.connect(dsn, timeout=DEADLINE_S)
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    return asyncio.run(ask())


def wait_until(happened: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not happened():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    """A zombie counts as gone: its new parent may be slow to collect it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


class Script:
    """A Python program in its own process, which reads and writes lines."""

    def __init__(self, body: str, *arguments: object, python: str = sys.executable, **options: Any) -> None:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(APP), *filter(None, sys.path)])}
        self.process = subprocess.Popen(
            [python, "-c", "import sys\n" + textwrap.dedent(body), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            **options,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def read_line(self) -> str:
        assert self.process.stdout is not None
        line: str = self.process.stdout.readline()
        return line.strip()

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


HOLD_A_SERVER = """
    from pathlib import Path
    from pgdbm.embedded import EmbeddedPostgres
    server = EmbeddedPostgres(Path(sys.argv[1])).start()
    print(server.pid, server.dsn(), flush=True)
    sys.stdin.readline()
    server.stop()
"""
