"""The embedded PostgreSQL that tests share: one per process, started on first use, and stopped with the process."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import itertools
import os
import shutil
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigurationError

if TYPE_CHECKING:
    from ..embedded import EmbeddedPostgres

_PREFIX = "pgdbm-test-server-"
_SETTINGS = {"max_connections": "200", "min_wal_size": "32MB", "max_wal_size": "128MB"}

# Creating a database writes about 300 files, which can take ten times as long on disk as in memory.
_MEMORY = Path("/dev/shm")  # noqa: S108
_ROOM_BYTES = 1 << 30
_SAY_WHERE = ("TMPDIR", "TEMP", "TMP")

_mutex = threading.Lock()
_server: EmbeddedPostgres | None = None
_owner_pid: int | None = None


def is_available() -> bool:
    """Whether the binaries are installed, for this platform."""
    from ..embedded.cluster import binaries

    try:
        binaries()
    except ConfigurationError:
        return False
    return True


def dsn() -> str:
    """The DSN of the server, which is started if necessary. Blocks, for about a second the first time.

    Raises:
        ConfigurationError: the binaries are not installed, or cannot run here.
    """
    global _server, _owner_pid
    with _mutex:
        if _server is None:
            from ..embedded import EmbeddedPostgres

            _remove_leftovers()
            folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent_folder()))
            made = EmbeddedPostgres(folder, durable=False, settings=_SETTINGS)
            try:
                made.start()
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            _server, _owner_pid = made, os.getpid()
            atexit.register(stop)
        return _server.dsn()


def stop() -> None:
    """Stop the server and remove its files; safe to call twice, and without effect in a forked child."""
    global _server, _owner_pid
    with _mutex:
        if _server is None or _owner_pid != os.getpid():
            return
        server, _server, _owner_pid = _server, None, None
        atexit.unregister(stop)
        server.stop()
        shutil.rmtree(server.data_dir, ignore_errors=True)


def parent_folder() -> Path:
    """The parent of the server's folder: in memory if there is enough of it, unless TMPDIR is set."""
    if (
        not any(os.environ.get(name) for name in _SAY_WHERE)
        and os.access(_MEMORY, os.W_OK | os.X_OK)
        and shutil.disk_usage(_MEMORY).free >= _ROOM_BYTES
    ):
        return _MEMORY
    return Path(tempfile.gettempdir())


def _remove_leftovers() -> None:
    """Folders that killed processes left behind. Their servers ended with them."""
    parents = {_MEMORY, Path(tempfile.gettempdir())}
    for folder in itertools.chain.from_iterable(parent.glob(f"{_PREFIX}*") for parent in parents):
        pid = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdigit() and not process_exists(int(pid)) and _is_unowned(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _is_unowned(folder: Path) -> bool:
    """Whether the folder's lock is free: a process of another container can hold it, with a pid unknown here."""
    with contextlib.ExitStack() as stack:
        try:
            if folder.stat().st_uid != os.getuid():
                return False
            lock = os.open(folder / "lock", os.O_RDWR)
            stack.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


def process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
