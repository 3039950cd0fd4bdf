"""Find a program on PATH, or install its Debian package, which requires root."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

INSTALL_TIMEOUT_S = 300
UNAVAILABLE = 3

CACHE = Path(__file__).resolve().parent.parent / ".cache"


class UnavailableError(Exception):
    """No program, and why."""


def print_path(program: str, package: str, left_out: str) -> int:
    """Print the path of ``program``. Without it, returns 3 and reports on standard error what is skipped."""
    try:
        print(found(program) or installed(program, package))
    except UnavailableError as reason:
        print(f"no {program}: {reason}. Left out: {left_out}", file=sys.stderr)
        return UNAVAILABLE
    return 0


def found(program: str) -> str | None:
    """An ordinary user's PATH may have no /usr/sbin, where Debian puts servers."""
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"]))


def installed(program: str, package: str) -> str:
    apt_get = shutil.which("apt-get")
    if os.geteuid() != 0 or apt_get is None:
        raise UnavailableError("not on PATH, and installing it requires root and apt-get")
    CACHE.mkdir(exist_ok=True)
    # Several test workers may need it at the same time: one installs it, the others wait. apt-get allows one at a time.
    with (CACHE / "apt-get.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if found(program) is None:
            run(apt_get, "update", "-qq")
            run(apt_get, "install", "-qq", "-y", "--no-install-recommends", package)
    path = found(program)
    if path is None:
        raise UnavailableError(f"the package {package} does not contain it")
    return path


def run(apt_get: str, *arguments: str) -> None:
    # A package that starts its service would leave a server behind on a machine with systemd.
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    try:
        done = subprocess.run(
            [apt_get, *arguments], env=environment, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as late:
        raise UnavailableError(f"apt-get {arguments[0]} took over {INSTALL_TIMEOUT_S} s") from late
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["no reason given"]
        raise UnavailableError(f"apt-get {arguments[0]} failed: {said[-1]}")
