"""The folder of an embedded server: who owns it, and whether an earlier server still lives in it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from pathlib import Path

from pgdbm.errors import ConfigurationError, ConnectionError

MAX_LOG_BYTES = 16 * 1024 * 1024
"""A longer server.log is begun anew at the next start."""

_POLL_SECONDS = 0.005


class Folder:
    """The paths inside ``data_dir``, and the two locks on it.

    ``lock`` is held by the owning process and holds its pid. The lock on ``server.log`` is handed to the
    server together with the file: it is free once the last process of an earlier server is gone, however
    that came about, with no pid that might belong to someone else by now.
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

        Raises ConfigurationError if the folder has an owner, or cannot be written.
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

    def open_log(self, patience: float) -> int:
        """server.log for a new server, locked. Waits up to ``patience`` seconds for an earlier server to end.

        Only for the owner of the folder: a server that still holds the log has lost its owner, and is told to
        go. One that somebody else started, say by pg_ctl, is waited for and left alone.
        """
        descriptor = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + patience
        try:
            told = False
            while True:
                ours = not _try_lock(descriptor)
                pid = self.recorded_pid()
                if not ours and (pid is None or self._works_here(pid) is False):
                    break
                if ours and not told and pid is not None and self._works_here(pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGINT)
                    told = True
                if time.monotonic() > deadline:
                    raise ConnectionError(
                        f"An earlier PostgreSQL (process {pid or 'unknown'}) still runs in {self.pgdata} "
                        f"after {patience:g} s: wait for it to end, or stop it.",
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
        """Whether the server ``pid`` has said that it accepts connections: line 8 of its postmaster.pid."""
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
        """Whether ``pid`` is a server on our pgdata; None for a server whose folder is hidden from us.

        A server works inside its data directory, so a recycled pid does not deceive.
        """
        try:
            if Path(f"/proc/{pid}/comm").read_text().strip() != "postgres":
                return False
            return self.pgdata.samefile(f"/proc/{pid}/cwd")
        except PermissionError:
            return None
        except OSError:
            return False


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
