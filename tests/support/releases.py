"""Services that run the code of one release or another, each in a process of its own."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pgdbm

from ..service.forked_service import ForkedService

if TYPE_CHECKING:
    from types import TracebackType

APP = Path(str(pgdbm.__file__)).parents[1]
"""The code that is tested."""

PREVIOUS_COMMIT = "13f994c"
"""The commit that is used as the previous release, as long as none with this service schema was published."""

DEADLINE_S = 60
_ROOT = Path(__file__).resolve().parents[2]


def previous_release(folder: Path) -> Path | None:
    """The code of :data:`PREVIOUS_COMMIT`, unpacked in ``folder``; None where git does not have it."""
    archive = subprocess.run(["git", "archive", PREVIOUS_COMMIT, "app"], cwd=_ROOT, capture_output=True)
    if archive.returncode != 0:
        return None
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder / "app"


class ReleasedService:
    """``with ReleasedService(app, dsn, repository, log)``: the code in ``app`` serves at ``url``, until SIGTERM."""

    def __init__(self, app: Path, dsn: str, repository: Path, log: Path, **variables: str) -> None:
        environment = os.environ | {
            "DATABASE_URL": dsn,
            "PGDBM_PORT": "0",
            "PGDBM_MIGRATIONS_REPO": str(repository),
            "PYTHONPATH": str(app),
        }
        environment |= variables
        self._log = log
        log.touch()
        self.process: ForkedService | subprocess.Popen[bytes]
        if app == APP:
            self.process = ForkedService(environment, out=log, err=log, cwd=repository)
        else:
            with log.open("ab") as out:
                command = [sys.executable, "-m", "pgdbm_service"]
                self.process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, cwd=repository)

    @property
    def url(self) -> str:
        """The address that the service prints once it serves."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            found = re.search(r"serves (http://\S+)", self.log())
            if found:
                return found[1]
            assert time.monotonic() < deadline, f"the service did not start: {self.log()}"
            assert self.process.poll() is None, f"the service ended: {self.log()}"
            time.sleep(0.02)

    def log(self) -> str:
        return self._log.read_text()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.terminate()
        try:
            self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
