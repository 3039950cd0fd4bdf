"""``make run`` installs what the service needs, and nothing else; ``make test`` what development needs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
LOCK = "requirements.run.lock"


def pins(lock: str) -> set[str]:
    """The packages of a lock, with their versions."""
    return set(re.findall(r"^([\w.-]+==[^ ;]+)", (ROOT / lock).read_text(), re.MULTILINE))


def names(lock: str) -> set[str]:
    return {pin.partition("==")[0] for pin in pins(lock)}


def required() -> Iterator[str]:
    """The packages that the service with an embedded server names."""
    text = (ROOT / "pyproject.toml").read_text()
    for extra in ("client", "service", "embedded"):
        (listed,) = re.findall(rf"^{extra} = \[(.*?)\]$", text, re.MULTILINE | re.DOTALL)
        yield from (Requirement(one).name for one in re.findall(r'"([^"]+)"', listed))


def test_the_lock_has_what_the_service_needs_in_the_versions_of_development() -> None:
    assert set(required()) - {"pgdbm"} - names(LOCK) == set()
    assert pins(LOCK) - pins("requirements.lock") == set()
    assert len(names(LOCK)) < len(names("requirements.lock")) / 2
    assert {"mypy", "playwright", "pytest", "ruff"} & names(LOCK) == set()
    assert "://" not in (ROOT / LOCK).read_text()


@pytest.mark.parametrize(("is_developed", "venv"), [(False, ".venv-run"), (True, ".venv")])
def test_one_environment_is_installed(tmp_path: Path, is_developed: bool, venv: str) -> None:
    for name in ("Makefile", "requirements.lock", LOCK):
        shutil.copy(ROOT / name, tmp_path)
    if is_developed:
        (tmp_path / ".venv").mkdir()
        (tmp_path / ".venv" / ".installed").touch()
    make = shutil.which("make")
    assert make is not None
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    for target in ("run", "test"):
        done = subprocess.run(
            [make, "--dry-run", target], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        wanted = venv if target == "run" else ".venv"
        assert f"{wanted}/bin/python -m" in done.stdout
        lock = LOCK if wanted == ".venv-run" else "requirements.lock"
        assert (f"-r {lock}" in done.stdout) is not is_developed
