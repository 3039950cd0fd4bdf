"""PgBouncer, usually in transaction mode, in front of the tests' server."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

import asyncpg
import pytest

from pgdbm.testing.server import parent_folder

from .programs import accepts_connections, free_port, running, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parents[2]
SERVER_CONNECTIONS = 3
IGNORED = "jit, statement_timeout, lock_timeout, idle_in_transaction_session_timeout, search_path, work_mem"


class Pooler:
    """A PgBouncer that can be stopped, started with other settings, and commanded.

    Every client has the user of ``dsn`` at the server; with ``passwords``, by user, its own.
    """

    def __init__(self, dsn: str, folder: Path, ignored: str, passwords: Mapping[str, str] | None) -> None:
        found = subprocess.run([ROOT / ".ci" / "pgbouncer"], capture_output=True, text=True, check=False)
        if found.returncode == 3:
            pytest.skip(found.stderr.strip())
        assert found.returncode == 0, found.stderr
        self._program = Path(found.stdout.strip())
        self._server = urlsplit(dsn)
        self._folder = folder
        self._passwords = passwords
        self.port = free_port()
        self._settings = {
            "pool_mode": "transaction",
            "default_pool_size": str(SERVER_CONNECTIONS),
            "server_round_robin": "1",
            "max_client_conn": "500",
            "auth_type": "plain" if passwords else "any",
            "ignore_startup_parameters": ignored,
        }
        self._running = ExitStack()

    @property
    def base(self) -> str:
        """The start of a DSN, without the database."""
        user = quote(self._server.username or "", safe="")
        return f"postgresql://{user}:{self._server.password if self._passwords else 'anything'}@127.0.0.1:{self.port}"

    def start(self, **settings: str) -> None:
        """Start it, with ``settings`` besides the earlier ones."""
        self._settings |= settings
        password = unquote(self._server.password or "").replace("'", "''")
        forced = "" if self._passwords else f"user={self._server.username} password='{password}'"
        users = "".join(f'"{user}" "{one}"\n' for user, one in (self._passwords or {"admin": "admin"}).items())
        (self._folder / "users.txt").write_text(users)
        lines = "".join(f"{name} = {value}\n" for name, value in self._settings.items())
        (self._folder / "pgbouncer.ini").write_text(f"""
[databases]
* = host={self._server.hostname} port={self._server.port} {forced}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_file = {self._folder / "users.txt"}
admin_users = admin
{lines}""")
        ini = str(self._folder / "pgbouncer.ini")
        process = self._running.enter_context(running(self._folder, self._program, ini))
        until(lambda: accepts_connections(self.port), process, self._folder)

    def stop(self) -> None:
        """End it, with all connections of its clients."""
        self._running.close()

    def restart(self, **settings: str) -> None:
        self.stop()
        self.start(**settings)

    def command(self, command: str) -> None:
        """Execute ``command`` in its console, such as PAUSE."""

        async def execute() -> None:
            # The console speaks the simple protocol only, and knows no statement of asyncpg's own.
            connection = await asyncpg.connect(f"postgresql://admin:admin@127.0.0.1:{self.port}/pgbouncer")
            await connection.execute(command)
            connection.terminate()

        asyncio.run(execute())


@contextmanager
def controlled_pgbouncer(
    dsn: str, *, ignored: str = IGNORED, passwords: Mapping[str, str] | None = None
) -> Iterator[Pooler]:
    """A running PgBouncer in front of the server of ``dsn``."""
    with tempfile.TemporaryDirectory(prefix="pgdbm-pgbouncer-", dir=parent_folder()) as scratch:
        folder = Path(scratch) / "pgbouncer"
        folder.mkdir(mode=0o700)
        pooler = Pooler(dsn, folder, ignored, passwords)
        pooler.start()
        try:
            yield pooler
        finally:
            pooler.stop()


@contextmanager
def pgbouncer(dsn: str, *, ignored: str, passwords: Mapping[str, str] | None = None) -> Iterator[str]:
    """The start of a DSN, without the database, that leads through PgBouncer to the server of ``dsn``.

    Every client has the user of ``dsn`` there; with ``passwords``, by user, its own.
    """
    with controlled_pgbouncer(dsn, ignored=ignored, passwords=passwords) as pooler:
        yield pooler.base
