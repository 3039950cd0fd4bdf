"""PgBouncer in transaction mode, in front of the tests' server."""

from __future__ import annotations

import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

import pytest

from pgdbm.testing.server import parent_folder

from .programs import accepts_connections, free_port, running, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parents[2]
SERVER_CONNECTIONS = 3
IGNORED = "jit, statement_timeout, lock_timeout, idle_in_transaction_session_timeout, search_path, work_mem"


@contextmanager
def pgbouncer(dsn: str, *, ignored: str, passwords: Mapping[str, str] | None = None) -> Iterator[str]:
    """The start of a DSN, without the database, that leads through PgBouncer to the server of ``dsn``.

    Every client has the user of ``dsn`` there; with ``passwords``, by user, its own.
    """
    found = subprocess.run([ROOT / ".ci" / "pgbouncer"], capture_output=True, text=True, check=False)
    if found.returncode == 3:
        pytest.skip(found.stderr.strip())
    assert found.returncode == 0, found.stderr
    server = urlsplit(dsn)
    password = unquote(server.password or "").replace("'", "''")
    with tempfile.TemporaryDirectory(prefix="pgdbm-pgbouncer-", dir=parent_folder()) as scratch:
        folder = Path(scratch) / "pgbouncer"
        folder.mkdir(mode=0o700)
        port = free_port()
        users = "".join(f'"{user}" "{one}"\n' for user, one in (passwords or {}).items())
        (folder / "users.txt").write_text(users)
        forced = "" if passwords else f"user={server.username} password='{password}'"
        (folder / "pgbouncer.ini").write_text(f"""
[databases]
* = host={server.hostname} port={server.port} {forced}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = {"plain" if passwords else "any"}
auth_file = {folder / "users.txt"}
pool_mode = transaction
default_pool_size = {SERVER_CONNECTIONS}
server_round_robin = 1
max_client_conn = 500
ignore_startup_parameters = {ignored}
""")
        with running(folder, Path(found.stdout.strip()), str(folder / "pgbouncer.ini")) as process:
            until(lambda: accepts_connections(port), process, folder)
            user = quote(server.username or "", safe="")
            yield f"postgresql://{user}:{server.password if passwords else 'anything'}@127.0.0.1:{port}"
