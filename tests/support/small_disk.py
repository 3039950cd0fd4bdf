"""A database on a file system of a few megabytes, to fill and to free. Mounting it requires root."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from pgdbm.testing.server import parent_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK = b"x" * 4096


@dataclass(frozen=True)
class SmallDisk:
    """``dsn`` is that of a database whose tables and catalogs are all in ``folder``."""

    dsn: str
    folder: Path

    def fill(self) -> None:
        """Write until there is no space left."""
        with (self.folder / "ballast").open("ab", buffering=0) as ballast, suppress(OSError):
            while True:
                ballast.write(_BLOCK)

    def free(self) -> None:
        (self.folder / "ballast").unlink()


@contextmanager
def small_disk(server: str, *, megabytes: int = 40) -> Iterator[SmallDisk]:
    """A database of the server with the superuser's DSN ``server``, on a file system of its own."""
    (data_directory,) = _run(server, "SHOW data_directory")
    if not Path(data_directory).exists():
        pytest.skip("the server is on another machine")
    name = f"small_{uuid.uuid4().hex[:12]}"
    with tempfile.TemporaryDirectory(prefix="pgdbm-small-", dir=parent_folder()) as folder:
        mounting = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder]
        if os.geteuid() != 0 or subprocess.run(mounting, capture_output=True, check=False).returncode:
            pytest.skip("a small file system cannot be mounted here")
        try:
            space = Path(folder, "space")
            space.mkdir()
            owner = Path(data_directory).stat()
            os.chown(space, owner.st_uid, owner.st_gid)
            Path(folder).chmod(0o755)
            _run(server, f"CREATE TABLESPACE {name} LOCATION '{space}'", f"CREATE DATABASE {name} TABLESPACE {name}")
            try:
                yield SmallDisk(urlunsplit(urlsplit(server)._replace(path=f"/{name}")), Path(folder))
            finally:
                Path(folder, "ballast").unlink(missing_ok=True)
                _run(server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", f"DROP TABLESPACE {name}")
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


def _run(dsn: str, *statements: str) -> list[str]:
    """The first value of each statement, or its status."""

    async def run() -> list[str]:
        connection = await asyncpg.connect(dsn)
        try:
            shows = statements[0].startswith("SHOW")
            return [await (connection.fetchval if shows else connection.execute)(one) for one in statements]
        finally:
            await connection.close()

    return asyncio.run(run())
