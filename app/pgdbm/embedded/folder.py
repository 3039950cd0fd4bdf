"""The folder of an embedded server: its owner, and whether an earlier server still runs in it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from pgdbm.errors import ConfigurationError, ConnectionError

MAX_LOG_BYTES = 16 * 1024 * 1024
"""A longer server.log is truncated at the next start."""

_POLL_SECONDS = 0.005
_PROC = Path("/proc")


class Folder:
    """The paths in ``data_dir``, and its two locks.

    ``lock`` is locked by the owning process and contains its pid. The lock on ``server.log`` is inherited by the server
    with the file descriptor. It is released when the last process of a server ends, for any reason; unlike a pid, it
    cannot belong to another process by then.
    """

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir
        self.pgdata = data_dir / "pgdata"
        self.password = data_dir / "password"
        self.log = data_dir / "server.log"
        self.lock = data_dir / "lock"
        self._pidfile = self.pgdata / "postmaster.pid"

    def claim(self) -> int:
        """Become the owner until the returned descriptor is closed.

        Raises:
            ConfigurationError: the folder has an owner already, or cannot be written.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigurationError(
                f"The folder of the embedded PostgreSQL, {self.path}, cannot be used: {error.strerror}.",
                config_field="data_dir",
                details={"data_dir": str(self.path)},
            ) from error
        if not _try_lock(descriptor):
            owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise ConfigurationError(
                f"{self.path} is already used by process {owner or 'unknown'}: "
                "stop that process, or choose another folder.",
                config_field="data_dir",
                details={"data_dir": str(self.path), "owner_pid": int(owner) if owner.isdigit() else None},
            )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        return descriptor

    def open_log(self, timeout: float) -> int:
        """Open and lock server.log for a new server. Waits up to ``timeout`` seconds for an earlier server to end.

        Only for the owner of the folder: a server that still holds the log has lost its owner and is shutting down. A
        server that another program, such as pg_ctl, started does not shut down; this waits for it to end.
        """
        descriptor = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + timeout
        try:
            signalled = False
            while True:
                ours = not _try_lock(descriptor)
                pid = self.recorded_pid()
                if not ours and (pid is None or self._works_here(pid) is False):
                    break
                if ours and not signalled and pid is not None and self._works_here(pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGINT)
                    signalled = True
                if time.monotonic() > deadline:
                    raise ConnectionError(
                        f"An earlier PostgreSQL (process {pid or 'unknown'}) is still running in "
                        f"{self.pgdata} after {timeout:g} s: wait for it to end, or stop it.",
                        details={"data_dir": str(self.path), "pid": pid},
                    )
                time.sleep(_POLL_SECONDS)
            self._pidfile.unlink(missing_ok=True)
            if os.fstat(descriptor).st_size > MAX_LOG_BYTES:
                os.ftruncate(descriptor, 0)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def recorded_pid(self) -> int | None:
        lines = self._pidfile_lines()
        return int(lines[0]) if lines and lines[0].isdigit() else None

    def is_ready(self, pid: int) -> bool:
        """Whether the server ``pid`` has reported that it accepts connections: line 8 of its postmaster.pid."""
        lines = self._pidfile_lines()
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def log_size(self) -> int:
        return self.log.stat().st_size

    def log_tail(self, start: int, lines: int = 20) -> list[str]:
        """The last lines written to server.log after byte ``start``."""
        with self.log.open("rb") as file:
            file.seek(start)
            return file.read().decode("utf-8", "replace").splitlines()[-lines:]

    def _pidfile_lines(self) -> list[str]:
        try:
            return self._pidfile.read_text("utf-8", "replace").splitlines()
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _works_here(self, pid: int) -> bool | None:
        """Whether ``pid`` is a server on this pgdata; None for a server whose working directory this process cannot
        read.

        A server's working directory is its data directory, so a recycled pid is not mistaken for it.
        """
        if not _PROC.is_dir():
            return _is_postgres(pid)
        try:
            if (_PROC / str(pid) / "comm").read_text().strip() != "postgres":
                return False
            return self.pgdata.samefile(_PROC / str(pid) / "cwd")
        except PermissionError:
            return None
        except OSError:
            return False


def _is_postgres(pid: int) -> bool:
    """Whether a process is a PostgreSQL server, on systems that do not show its working directory."""
    ps = shutil.which("ps", path=os.defpath)
    if ps is None:
        return False
    shown = subprocess.run([ps, "-p", str(pid), "-o", "comm="], capture_output=True, text=True, check=False).stdout
    return Path(shown.strip()).name == "postgres"


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
