"""Servers from the system's packages, started as the embedded PostgreSQL is: not as root, and ended with the tests."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pgdbm.embedded.spawn import Command, spawn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_DEADLINE_S = 60.0
_PACKAGED = Path("/usr/lib/postgresql")


def system_postgres() -> Path:
    """The folder with ``initdb`` and ``postgres``; skips the test where there is none."""
    versions = sorted(_PACKAGED.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3].split(".")[0]))
    found = versions[-1] if versions else shutil.which("initdb")
    if not found:
        pytest.skip(f"no PostgreSQL of the system, in {_PACKAGED}/*/bin or on PATH; the embedded one has no TLS")
    return Path(found).resolve().parent


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def run(folder: Path, program: Path, *arguments: str) -> None:
    """Run ``program`` until it ends, as the account that owns ``folder``."""
    with running(folder, program, *arguments) as process:
        assert process.wait(_DEADLINE_S) == 0, log_of(folder)


@contextmanager
def running(folder: Path, program: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """``program``, as the account that owns ``folder``; its output goes to ``log`` in there."""
    log = os.open(folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        process = spawn(Command(program, arguments, folder, log))
    finally:
        os.close(log)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(_DEADLINE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def log_of(folder: Path) -> str:
    return (folder / "log").read_text("utf-8", "replace")


def until(is_ready: Callable[[], bool], process: subprocess.Popen[bytes], folder: Path) -> None:
    """Return once ``is_ready``; fails with its output if ``process`` ends before that."""
    deadline = time.monotonic() + _DEADLINE_S
    while not is_ready():
        assert process.poll() is None, log_of(folder)
        assert time.monotonic() < deadline, log_of(folder)
        time.sleep(0.01)


def accepts_connections(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
