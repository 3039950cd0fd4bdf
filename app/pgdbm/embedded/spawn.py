"""Starts PostgreSQL programs through ``launch.py``, from one thread that lives as long as the process.

The kernel ties PR_SET_PDEATHSIG to the parent's *thread*, not its process: a server started from a pool thread would be
stopped as soon as that thread ends. So a daemon thread of this module makes every fork. If the system has no such call,
the launcher waits for the end of a pipe whose other end this process keeps open for its lifetime.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from pgdbm.embedded.launch import BY_KERNEL
from pgdbm.errors import ConfigurationError

NOTICE_BY = BY_KERNEL
"""How a program notices the end of this process, if the kernel offers a choice."""

_LAUNCHER = Path(__file__).with_name("launch.py")


@dataclass(frozen=True, slots=True)
class Command:
    program: Path
    arguments: tuple[str, ...]
    owned_folder: Path
    output: int
    """A file descriptor. It, and any flock on it, stays open in the program and in all its children."""


_Task = tuple[Command, "Future[subprocess.Popen[bytes]]"]


class _Forker:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tasks: queue.SimpleQueue[_Task] | None = None

    def submit(self, task: _Task) -> None:
        with self._lock:
            if self._tasks is None:
                tasks: queue.SimpleQueue[_Task] = queue.SimpleQueue()
                threading.Thread(target=self._serve, args=(tasks,), name="pgdbm-embedded-forker", daemon=True).start()
                self._tasks = tasks
            self._tasks.put(task)

    @staticmethod
    def _serve(tasks: queue.SimpleQueue[_Task]) -> None:
        while True:
            command, future = tasks.get()
            try:
                future.set_result(_popen(command))
            except BaseException as error:
                future.set_exception(error)
            # A reference that is kept here would outlive the caller's.
            del command, future


class _Pipe:
    """A pipe whose writing end is closed when this process ends. Child processes must not inherit it."""

    def __init__(self) -> None:
        self._ends: tuple[int, int] | None = None

    def reading_end(self) -> int:
        if self._ends is None:
            self._ends = os.pipe()
        return self._ends[0]

    def close(self) -> None:
        for end in self._ends or ():
            os.close(end)
        self._ends = None


_forker = _Forker()
_pipe = _Pipe()


def _forget_thread() -> None:
    """A forked child has no copy of the thread, and may have a lock that is never released."""
    global _forker
    _forker = _Forker()
    _pipe.close()


os.register_at_fork(after_in_child=_forget_thread)


def _popen(command: Command) -> subprocess.Popen[bytes]:
    pipe = _pipe.reading_end()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return subprocess.Popen(
        [
            sys.executable,
            "-I",
            "-S",
            str(_LAUNCHER),
            f"{os.getpid()}:{pipe}:{NOTICE_BY}",
            str(command.owned_folder),
            str(command.program),
            *command.arguments,
        ],
        stdin=subprocess.DEVNULL,
        stdout=command.output,
        stderr=command.output,
        pass_fds=(command.output, pipe),
        cwd=command.owned_folder.parent,
        env=environment | {"LC_ALL": "C"},
        # Ctrl-C in a terminal is for the application, which needs its database for a clean shutdown.
        start_new_session=True,
    )


def spawn(command: Command) -> subprocess.Popen[bytes]:
    """Start ``command``; it gets SIGINT when this process ends, for whatever reason. Call it from any thread."""
    if not sys.executable:
        raise ConfigurationError("The embedded PostgreSQL needs sys.executable; set DATABASE_URL instead.")
    future: Future[subprocess.Popen[bytes]] = Future()
    _forker.submit((command, future))
    try:
        return future.result()
    except BaseException:
        # The caller was interrupted while it waited: nothing owns the process that was started for it, or is about to
        # be.
        future.add_done_callback(_discard)
        raise


def _discard(future: Future[subprocess.Popen[bytes]]) -> None:
    if future.exception() is None:
        future.result().kill()
