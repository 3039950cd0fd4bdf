"""A terminal for the documents' console blocks: runs the commands, and compares what they print with what is shown.

``make run`` starts the service on a free port, as the Makefile does, or forked from one with the imports done; ``^C``
stops it. Other targets of make have to exist. Everything else is run by the shell, in a copy of what a clone holds.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pgdbm

from ..service.forked_service import ForkedService
from .markdown import ROOT
from .shown import MORE, compare, parse

if TYPE_CHECKING:
    from .markdown import Block

DEADLINE_S = 60
_LAST_LINES = 20
_HTTP_ERROR = 22
SHOWN_ADDRESS = "http://127.0.0.1:8000"

_HERE_DOCUMENT = re.compile(r"<<'(\w+)'")
_SERVES = re.compile(r"serves (http://127\.0\.0\.1:\d+) .*Try:", re.DOTALL)


def commands(text: str) -> list[tuple[str, list[str]]]:
    """Each command of a console block, with its here-document, and the lines shown as its output."""
    found: list[tuple[str, list[str]]] = []
    ending: str | None = None
    for line in text.splitlines():
        if ending is not None:
            command, output = found[-1]
            found[-1] = (f"{command}\n{line}", output)
            ending = None if line == ending else ending
        elif line.startswith("$ ") or line == "^C":
            found.append((line.removeprefix("$ "), []))
            document = _HERE_DOCUMENT.search(line)
            ending = document[1] if document else None
        else:
            assert found, f"output before any command: {line}"
            found[-1][1].append(line)
    return found


def _shows_problem(shown: list[str]) -> bool:
    return bool(shown) and re.search(r'"status":[45]\d\d\b', shown[0]) is not None


def targets() -> set[str]:
    """The targets of make."""
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


class Terminal:
    """Works in ``folder``, as a clone after the first ``make run``; ``variables`` are added to the environment.

    ``forks``: the service is a :class:`ForkedService`, for pages that are not about its start.
    """

    def __init__(self, folder: Path, *, forks: bool = False, **variables: str) -> None:
        self._forks = forks
        self._folder = folder
        self._log = folder / "service.out"
        self._service: subprocess.Popen[bytes] | ForkedService | None = None
        self._address = ""
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self._environment = inherited | variables
        shutil.copytree(ROOT / "migrations_repo", folder / "migrations_repo")
        (folder / "app").symlink_to(Path(str(pgdbm.__file__)).parents[1])
        (folder / ".venv-run" / "bin").mkdir(parents=True)
        python = folder / ".venv-run" / "bin" / "python"
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        python.chmod(0o755)
        # In place of the installed command.
        command = python.with_name("pgdbm")
        command.write_text(f'#!/bin/sh\nPYTHONPATH="{folder / "app"}" exec "{sys.executable}" -m pgdbm_service "$@"\n')
        command.chmod(0o755)
        self._environment["PATH"] = f"{python.parent}:{self._environment.get('PATH', '')}"

    def run(self, block: Block) -> None:
        for command, shown in commands(block.text):
            where = f"{block}: {command.splitlines()[0]}"
            try:
                output = self._run(command, fails=_shows_problem(shown) and "--fail-with-body" in command)
                self._compare(shown, output)
            except (AssertionError, ValueError) as error:
                raise AssertionError(f"{where}: {error}\n{self._last_words()}") from error

    def close(self) -> None:
        if self._service is not None:
            if self._service.poll() is None:
                self._service.kill()
            self._service.wait(DEADLINE_S)

    def _run(self, command: str, *, fails: bool) -> str:
        if command == "make run":
            return self._start()
        if command == "^C":
            self._stop()
            return ""
        if command.startswith("make "):
            assert command.removeprefix("make ") in targets(), "there is no such target"
            return ""
        if command.startswith("curl "):
            assert SHOWN_ADDRESS in command, f"it does not call {SHOWN_ADDRESS}"
        command = command.replace(SHOWN_ADDRESS, self._address or SHOWN_ADDRESS)
        if command.startswith("export "):
            name, _, value = command.removeprefix("export ").partition("=")
            self._environment[name] = value
            return ""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert done.returncode == (_HTTP_ERROR if fails else 0), f"exit code {done.returncode}: {done.stderr}"
        return done.stdout

    def _last_words(self) -> str:
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return "\n".join(["the service said at last:", *lines[-_LAST_LINES:]])

    def _start(self) -> str:
        assert self._service is None, "the service runs already"
        environment = self._environment | {"PYTHONPATH": "app", "PGDBM_PORT": "0"}
        self._log.write_bytes(b"")
        if self._forks:
            self._service = ForkedService(environment, out=self._log, err=self._log, cwd=self._folder)
        else:
            with self._log.open("ab") as out:
                self._service = subprocess.Popen(
                    [".venv-run/bin/python", "-m", "pgdbm_service"],
                    cwd=self._folder,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                )
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            said = self._log.read_text()
            serves = _SERVES.search(said)
            if serves:
                self._address = serves[1]
                return said.replace(serves[1], SHOWN_ADDRESS)
            assert self._service.poll() is None, "the service ended at its start"
            time.sleep(0.02)
        raise AssertionError("the service does not start")

    def _stop(self) -> None:
        assert self._service is not None, "the service does not run"
        self._service.send_signal(signal.SIGINT)
        assert self._service.wait(DEADLINE_S) == 0
        self._service = None

    def _compare(self, shown: list[str], output: str) -> None:
        text = "\n".join(shown).strip()
        if text.startswith("{"):
            compare(parse(text), parse(output))
            return
        said = iter([line.strip() for line in output.splitlines()])
        for line in shown:
            # They must occur in this order; other output may be in between.
            assert line.strip() in ("", MORE) or line.strip() in said, f"it did not say {line!r} but {output!r}"
