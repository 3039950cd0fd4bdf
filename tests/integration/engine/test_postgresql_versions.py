"""A part of the engine's tests on another version of PostgreSQL; ``make test-matrix`` runs all of them on each."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ...conftest import ROOT

_LEFT_OUT = 3
_DEADLINE_S = 300
# The oldest version lacks the most features.
_VERSION = "14"
_PART = (
    "tests/integration/engine/test_resume.py",
    "tests/integration/engine/test_round_trips.py",
    "tests/integration/state/test_drift.py",
)


@pytest.mark.skipif("PGDBM_POSTGRES_BIN" in os.environ, reason="this is the run on one of them")
@pytest.mark.slow
def test_a_part_of_the_engine_tests_passes_on_the_oldest_version() -> None:
    found = subprocess.run(
        [sys.executable, ROOT / ".ci" / "postgres", _VERSION],
        capture_output=True,
        text=True,
        timeout=_DEADLINE_S,
        check=False,
    )
    if found.returncode == _LEFT_OUT:
        pytest.skip(found.stderr.strip().splitlines()[-1])
    assert found.returncode == 0, found.stderr
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PGDBM_TEST"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *_PART],
        cwd=ROOT,
        env={**kept, "PGDBM_POSTGRES_BIN": found.stdout.strip()},
        capture_output=True,
        text=True,
        timeout=_DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]
