"""Services in processes of their own, forked from one with the imports done, which take most of a start.

Each test process has its fork server, of :mod:`multiprocessing`: it imports and sets up nothing, and ends with it.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..support.measured import new_processes_unmeasured

if TYPE_CHECKING:
    from collections.abc import Mapping

_forks = multiprocessing.get_context("forkserver")
# What a service has imported once it has migrated something; the last ones its libraries import when they are needed.
_forks.set_forkserver_preload(
    [
        "pgdbm_service.__main__",
        "pgdbm_service.asgi",
        "postgast",
        "uvicorn",
        "pgdbm_service.dashboard.routes",
    ]
)
# Forked copies import this module, which only works with ``python -m pytest``.
_ROOT = str(Path(__file__).resolve().parents[2])
if _ROOT not in sys.path:
    sys.path.append(_ROOT)


class ForkedService:
    """``python -m pgdbm_service``, without a new Python: for tests that are not about the command itself.

    It has the parts of ``subprocess.Popen`` that callers use. The output is added to the files ``out`` and ``err``.
    Coverage does not measure it.
    """

    args = ("pgdbm_service",)

    def __init__(self, environment: Mapping[str, str], *, out: Path, err: Path, cwd: Path = Path()) -> None:
        for path in (out, err):
            path.touch()
        self._process = _forks.Process(target=_serve, args=(dict(environment), out, err, cwd))
        # The fork server starts with the first one.
        with new_processes_unmeasured():
            self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _serve(environment: dict[str, str], out: Path, err: Path, cwd: Path) -> None:
    """In the copy: what a shell gives to a process, then the command."""
    from pgdbm_service.__main__ import main

    # The garbage collector writes to the objects that it visits, which would copy their pages.
    gc.freeze()
    for path, mode, standard in ((Path(os.devnull), "rb", 0), (out, "ab", 1), (err, "ab", 2)):
        with path.open(mode) as file:
            os.dup2(file.fileno(), standard)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv = ["pgdbm_service"]
    try:
        main()
    finally:
        # multiprocessing does not call them.
        atexit._run_exitfuncs()
