"""The locks contain the hashes for every developer's system: macOS on arm64, Linux on x86-64 and aarch64.

pip resolves each lock for each system, without installing anything. It needs the package registry and takes minutes.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("requirements.run.lock", "requirements.lock")
_MACOS = [f"macosx_{version}_arm64" for version in ("14_0", "13_0", "12_0", "11_0")]
_MACOS += [f"macosx_{version}_universal2" for version in ("10_13", "10_9")]
SYSTEMS = {
    "macOS on arm64": _MACOS,
    **{
        f"Linux on {machine}": [f"{tag}_{machine}" for tag in ("manylinux_2_28", "manylinux_2_17", "manylinux2014")]
        for machine in ("x86_64", "aarch64")
    },
}
PYTHON = "3.13"


def problem(lock: str, tags: list[str]) -> str:
    """pip's objections to ``lock`` on a system with these ``tags``; empty if it would install it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--dry-run"]
        command += ["--ignore-installed", "--target", folder, "--only-binary", ":all:", "--no-deps", "--require-hashes"]
        command += ["--python-version", PYTHON, *(word for tag in tags for word in ("--platform", tag))]
        done = subprocess.run([*command, "--requirement", str(ROOT / lock)], capture_output=True, text=True)
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
    return "" if done.returncode == 0 else "\n".join(errors[-3:] or done.stderr.splitlines()[-3:])


def main() -> int:
    failed = False
    for lock in LOCKS:
        for system, tags in SYSTEMS.items():
            said = problem(lock, tags)
            failed = failed or bool(said)
            print(f"{lock}, {system}, Python {PYTHON}: {said or 'every package has its hash'}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
