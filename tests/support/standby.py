"""A streaming standby of an embedded server, made with ``pg_basebackup``."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg

from pgdbm.embedded import EmbeddedPostgres
from pgdbm.embedded.cluster import binaries
from pgdbm.testing.server import parent_folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

_PAIR = {"max_connections": "60", "wal_keep_size": "256MB", "max_wal_size": "512MB"}


class Pair:
    """A server and its standby, which replicates asynchronously."""

    def __init__(self, leader: EmbeddedPostgres, standby: EmbeddedPostgres) -> None:
        self.leader = leader
        self.standby = standby
        self._leader_port, self._password = leader.port, urlsplit(leader.dsn()).password

    def dsn(self, wanted: str = "read-write") -> str:
        """Names both servers, and takes the one that is as ``wanted``."""
        hosts = f"127.0.0.1:{self._leader_port},127.0.0.1:{self.standby.port}"
        return f"postgresql://postgres:{self._password}@{hosts}/postgres?target_session_attrs={wanted}"

    def kill_leader(self) -> None:
        """SIGQUIT, as `pg_ctl stop -m immediate`: nothing more is sent to the standby."""
        assert self.leader.pid is not None
        os.kill(self.leader.pid, signal.SIGQUIT)

    def freeze_standby(self) -> None:
        """SIGSTOP to all of its processes: its connections stay open, and nothing is answered."""
        self._signal_standby(signal.SIGSTOP)

    def wake_standby(self) -> None:
        self._signal_standby(signal.SIGCONT)

    def _signal_standby(self, number: int) -> None:
        pid = self.standby.pid
        assert pid is not None
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for one in (pid, *map(int, children)):
            os.kill(one, number)

    async def promote(self) -> None:
        async with connected(self.standby.dsn()) as connection:
            assert await connection.fetchval("SELECT pg_promote(true, 60)")

    async def in_sync(self) -> None:
        """Return once the standby has replayed what the leader has written."""
        async with connected(self.leader.dsn()) as connection:
            await connection.execute("SET synchronous_commit = local")
            # A record that is flushed now: the standby gets only what is, and what is not may take 15 s.
            written = await connection.fetchval("SELECT pg_logical_emit_message(true, 'pgdbm', '')")
            replayed = "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn >= $1"
            async with asyncio.timeout(60):
                while not await connection.fetchval(replayed, written):
                    await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def replicated_pair(seed: Path, settings: Mapping[str, str] | None = None) -> AsyncIterator[Pair]:
    """Both run, and are ended at the end of the block. ``seed``: a stopped cluster, see the fixture of that name."""
    every = {**_PAIR, **(settings or {})}
    with tempfile.TemporaryDirectory(prefix="pgdbm-tests-", dir=parent_folder()) as folder:
        copied = shutil.copytree(seed, Path(folder) / "leader")
        leader = EmbeddedPostgres(copied, settings=every, durable=False)
        standby = EmbeddedPostgres(Path(folder) / "standby", settings=every, durable=False)
        try:
            await asyncio.to_thread(leader.start)
            await asyncio.to_thread(_copy, leader, Path(folder))
            await asyncio.to_thread(standby.start)
            pair = Pair(leader, standby)
            await pair.in_sync()
            yield pair
        finally:
            await asyncio.to_thread(standby.stop)
            await asyncio.to_thread(leader.stop, timeout=2.0)


def _copy(leader: EmbeddedPostgres, folder: Path) -> None:
    copied = folder / "standby"
    copied.mkdir(mode=0o700)
    password = copied / "password"
    password.touch(mode=0o600)
    password.write_text((folder / "leader" / "password").read_text())
    subprocess.run(
        [
            str(binaries() / "pg_basebackup"),
            *("--dbname", leader.dsn(), "--pgdata", str(copied / "pgdata")),
            *("--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--wal-method=stream"),
        ],
        check=True,
        capture_output=True,
    )
