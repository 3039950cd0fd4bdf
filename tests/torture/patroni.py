"""Two PostgreSQL servers, of which Patroni makes one the leader and the other its synchronous standby.

Debian's packages ``patroni`` and ``etcd-server`` have to be installed; the PostgreSQL is the embedded server's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2

from pgdbm.embedded.cluster import binaries
from pgdbm.embedded.spawn import Command, spawn

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator

_DEADLINE_S = 120
_PACKAGES = {"patroni": "patroni", "etcd": "etcd-server"}
# Short times, so that a failover takes seconds; the defaults are 30 s, 10 s and 10 s.
_TIMES = {"ttl": 6, "loop_wait": 1, "retry_timeout": 3}


def missing() -> list[str]:
    """The packages that are not installed here."""
    return [package for program, package in _PACKAGES.items() if shutil.which(program) is None]


class Node:
    """A server and the Patroni that manages it. Killed and started again, it keeps its ports and its data."""

    def __init__(self, name: str, folder: Path, etcd_port: int, password: str) -> None:
        self.name = name
        self.port = _free_port()
        self._folder = folder
        self._pgdata = folder / "pgdata"
        self._rest = f"127.0.0.1:{_free_port()}"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(mode=0o700)
        address = f"127.0.0.1:{self.port}"
        settings = {"unix_socket_directories": "", "max_connections": "100"}
        config = {
            "scope": "pgdbm",
            "name": name,
            "restapi": {"listen": self._rest, "connect_address": self._rest},
            "etcd3": {"host": f"127.0.0.1:{etcd_port}"},
            "bootstrap": {
                "dcs": _TIMES | {"synchronous_mode": True, "postgresql": {"use_pg_rewind": True}},
                "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, "data-checksums"],
            },
            "postgresql": {
                "listen": address,
                "connect_address": address,
                "data_dir": str(self._pgdata),
                "bin_dir": str(binaries()),
                "pgpass": str(folder / "pgpass"),
                "parameters": settings,
                "pg_hba": [f"host {what} all 127.0.0.1/32 scram-sha-256" for what in ("all", "replication")],
                "authentication": {
                    "superuser": {"username": "postgres", "password": password},
                    "replication": {"username": "copier", "password": password},
                },
                # Commits that only the killed leader had were never reported.
                "remove_data_directory_on_rewind_failure": True,
                "remove_data_directory_on_diverged_timelines": True,
            },
        }
        # JSON is YAML.
        (folder / "patroni.yml").write_text(json.dumps(config))

    def start(self) -> None:
        self._process = _spawn("patroni", self._folder, str(self._folder / "patroni.yml"))

    def kill(self) -> None:
        """SIGKILL to Patroni and to the postmaster, whose backends end themselves when they notice."""
        pids = [] if self._process is None else [self._process.pid]
        with contextlib.suppress(FileNotFoundError):
            pids.append(int((self._pgdata / "postmaster.pid").read_text().split()[0]))
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    async def is_(self, role: str) -> bool:
        """Whether its Patroni says that it is the ``primary``, or the ``synchronous`` standby."""
        async with httpx2.AsyncClient(timeout=2) as client:
            with contextlib.suppress(httpx2.TransportError):
                return (await client.get(f"http://{self._rest}/{role}")).status_code == 200
        return False

    def log(self) -> str:
        return (self._folder / "log").read_text()[-5000:]


class Pair:
    """The two nodes."""

    def __init__(self, nodes: list[Node], password: str) -> None:
        self.nodes = nodes
        self._password = password

    def dsn(self, wanted: str = "primary") -> str:
        """Names both servers, and takes the one that is as ``wanted``."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"postgresql://postgres:{self._password}@{hosts}/postgres?target_session_attrs={wanted}"

    async def leader(self) -> Node:
        """The leader, once there is one."""
        return await self._first("primary")

    async def in_sync(self) -> Node:
        """The standby that has all that the leader has reported as committed, once there is one."""
        await self.leader()
        return await self._first("synchronous")

    async def _first(self, role: str) -> Node:
        try:
            async with asyncio.timeout(_DEADLINE_S):
                while True:
                    for node in self.nodes:
                        if await node.is_(role):
                            return node
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise AssertionError("\n\n".join(f"no {role}", *(node.log() for node in self.nodes))) from None


@contextlib.asynccontextmanager
async def patroni_pair(folder: Path) -> AsyncIterator[Pair]:
    """A leader and a standby that is in sync with it; ended at the end of the block."""
    (etcd_folder := folder / "etcd").mkdir(mode=0o700)
    port, peers = _free_port(), _free_port()
    own, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peers}"
    options: dict[str, Any] = {
        "data-dir": etcd_folder / "data",
        "listen-client-urls": own,
        "advertise-client-urls": own,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"default={peer}",
    }
    etcd = _spawn("etcd", etcd_folder, *(f"--{name}={value}" for name, value in options.items()))
    password = secrets.token_urlsafe(24)
    pair = Pair([Node(name, folder / name, port, password) for name in ("a", "b")], password)
    try:
        for node in pair.nodes:
            node.start()
        await pair.in_sync()
        yield pair
    finally:
        for node in pair.nodes:
            node.kill()
        etcd.kill()
        etcd.wait()


def _spawn(program: str, folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start ``program`` as the embedded server is started: never as root, and not longer than this process."""
    found = shutil.which(program)
    assert found is not None
    log = os.open(folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        return spawn(Command(Path(found), arguments, folder, log))
    finally:
        os.close(log)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port
