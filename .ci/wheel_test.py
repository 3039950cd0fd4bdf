"""Build the wheel, unpack it, and run tests against it instead of the sources.

The dependencies are those of the environment that runs this; the project itself comes from the wheel alone, so that
tests fail if the wheel lacks a file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILT = ROOT / ".cache" / "wheel"
# The tests that read files of the distribution, or start processes from it; `make test` runs everything.
TESTS = (
    "tests/unit",
    # These packages read no files.
    *(f"--ignore=tests/unit/{room}" for room in ("dsn", "lint", "pgparse", "sources")),
    "tests/service/web/test_http.py",
    "tests/service/runs/test_migrate.py",
    "tests/service/process/test_process.py",
    "tests/service/registry/test_repository_sync.py",
    "tests/service/tokens/test_tokens.py",
    "tests/integration/engine/test_apply.py",
    "tests/integration/core/test_user_programs.py",
    "tests/integration/embedded/test_server.py",
)


def main() -> int:
    shutil.rmtree(BUILT, ignore_errors=True)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(BUILT)],
        cwd=ROOT,
        check=True,
    )
    (wheel,) = BUILT.glob("*.whl")
    unpacked = BUILT / "unpacked"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    environment = os.environ | {"PYTHONPATH": str(unpacked)}
    where = "import pgdbm, pgdbm_service; print(pgdbm.__file__, pgdbm_service.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", where], env=environment, cwd=BUILT, check=True, capture_output=True, text=True
    ).stdout
    if found.count(str(unpacked)) != 2:
        print(f"the tests would not run against the wheel but against {found}", file=sys.stderr)
        return 1
    command = [sys.executable, "-m", "pytest", "-q", "-n", "auto", "--dist", "worksteal", *TESTS]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
