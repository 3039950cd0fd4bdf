"""The examples, run like their readers run them: as processes in the example's folder, on a real database."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import httpx2
import pytest
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

DEADLINE_S = 30
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
LISTENING = re.compile(r"Uvicorn running on (http://\S+)")

Value = TypeVar("Value")


class Program:
    """A running program. Its output goes to a file, so that it never waits for a reader."""

    def __init__(self, folder: Path, arguments: tuple[str, ...], environment: dict[str, str], output: Path) -> None:
        self._output = output
        with output.open("w") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "error", *arguments],
                cwd=folder,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    def wait_for(self, pattern: str | re.Pattern[str]) -> re.Match[str]:
        """Wait until ``pattern`` is in the output."""

        def found() -> re.Match[str] | None:
            # Checked first, so that the search below covers everything that an ended program wrote.
            ended = self._process.poll() is not None
            match = re.search(pattern, self.output)
            assert match or not ended, f"it ended without {pattern!r}:\n{self.output}"
            return match

        match = eventually(found)
        assert match is not None
        return match

    def wait(self) -> int:
        """The exit code, once it has ended."""
        return self._process.wait(DEADLINE_S)

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self._process.terminate()
        return self.wait()

    def kill(self) -> None:
        """SIGKILL; nothing if it has ended already."""
        self._process.kill()
        self.wait()


class Service(Program):
    """A FastAPI application under uvicorn on a free port, ready for requests."""

    def __init__(self, folder: Path, application: str, environment: dict[str, str], output: Path) -> None:
        super().__init__(folder, ("-m", "uvicorn", application, "--port", "0"), environment, output)
        self.url = self.wait_for(LISTENING)[1]

    def client(self) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, trust_env=False, timeout=DEADLINE_S)


class Programs:
    """Starts programs, and at the end kills those that still run."""

    def __init__(self, database: str, folder: Path) -> None:
        self._database = database
        self._folder = folder
        self._started: list[Program] = []

    def start(self, folder: Path, *arguments: str, **environment: str) -> Program:
        """``python ARGUMENTS`` in ``folder``, with DATABASE_URL and ``environment``."""
        program = Program(folder, arguments, self._environment(environment), self._next_output())
        self._started.append(program)
        return program

    def run(self, folder: Path, *arguments: str, **environment: str) -> str:
        """The output of ``python ARGUMENTS``, which must succeed."""
        program = self.start(folder, *arguments, **environment)
        assert program.wait() == 0, program.output
        return program.output

    def serve(self, folder: Path, application: str, **environment: str) -> Service:
        """``uvicorn APPLICATION`` in ``folder``."""
        service = Service(folder, application, self._environment(environment), self._next_output())
        self._started.append(service)
        return service

    def kill_all(self) -> None:
        for program in self._started:
            program.kill()

    def _environment(self, environment: dict[str, str]) -> dict[str, str]:
        return {"DATABASE_URL": self._database, **environment}

    def _next_output(self) -> Path:
        return self._folder / f"program-{len(self._started)}.log"


@pytest.fixture
def examples() -> Path:
    return EXAMPLES


@pytest.fixture
def programs(database: str, tmp_path: Path) -> Iterator[Programs]:
    programs = Programs(database, tmp_path)
    yield programs
    programs.kill_all()
