"""Build the wheel, unpack it, and show that it is complete: its files, its modules, its commands, and tests against it.

The dependencies are those of the environment that runs this; the project itself comes from the wheel alone. Every file
of the sources has to be in it, so that a few hundred tests are enough: those that read the files of a package or start
processes from them. `make test` runs everything.
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
TESTS = (
    "tests/service/dashboard/test_pages.py",
    "tests/service/process/test_container.py",
    "tests/service/registry/test_repository_sync.py",
    "tests/service/runs/test_migrate.py",
    "tests/service/tokens/test_tokens.py",
    "tests/service/web/test_http.py",
    "tests/integration/core/test_user_programs.py",
    "tests/integration/embedded/test_server.py",
    "tests/integration/engine/test_apply.py",
)
# Imports every module, and loads what the entry points name; run in the environment of the wheel.
LOAD = """
import importlib, importlib.metadata, pkgutil, sys
import pgdbm, pgdbm_service
loaded = [
    importlib.import_module(found.name)
    for package in (pgdbm, pgdbm_service)
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
]
commands = importlib.metadata.distribution("pgdbm").entry_points
for one in commands:
    one.load()
foreign = sorted({one.__file__ for one in loaded if not (one.__file__ or "").startswith(sys.argv[1])})
if foreign:
    sys.exit(f"not loaded from the wheel: {foreign}")
print(f"{len(loaded)} modules and {len(commands)} entry points were loaded from the wheel")
"""


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
    if missing := missing_files(unpacked):
        print(f"the wheel lacks, or changes, {', '.join(missing)}", file=sys.stderr)
        return 1
    environment = os.environ | {"PYTHONPATH": str(unpacked)}
    loading = [sys.executable, "-c", LOAD, str(unpacked)]
    # Two test processes: each starts a server and a service of its own, which takes longer than its part of the tests.
    testing = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "worksteal", *TESTS]
    return (
        subprocess.run(loading, env=environment, cwd=BUILT, check=False).returncode
        or subprocess.run(testing, env=environment, cwd=ROOT, check=False).returncode
    )


def missing_files(unpacked: Path) -> list[str]:
    """The files of the sources that ``unpacked`` does not have, or not as they are there."""
    sources = ROOT / "app"
    paths = [path for path in sources.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return sorted(
        str(path.relative_to(sources))
        for path in paths
        if not (copy := unpacked / path.relative_to(sources)).is_file() or copy.read_bytes() != path.read_bytes()
    )


if __name__ == "__main__":
    sys.exit(main())
