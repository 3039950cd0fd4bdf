"""``make run`` in an empty clone: it answers, installs little, and stops on Ctrl-C. Prints how long it took.

Needs the package registry, or what pip has cached. The environment has PATH and HOME only.
"""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEADLINE_S = 600
MOST_MB = 250

_SERVES = re.compile(r"serves http://(127\.0\.0\.1:\d+)")


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="pgdbm-clone-") as folder:
        clone = Path(folder) / "pgdbm"
        subprocess.run([program("git"), "clone", "--quiet", ROOT, clone], check=True)
        log = Path(folder) / "out"
        environment = {name: os.environ[name] for name in ("PATH", "HOME")}
        started = time.monotonic()
        with log.open("wb") as out:
            # A free port, so that it does not collide with a service that is already running.
            process = subprocess.Popen(
                [program("make"), "run"],
                cwd=clone,
                env=environment | {"PGDBM_PORT": "0"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            address = served(process, log, started + DEADLINE_S)
            took = time.monotonic() - started
            connection = http.client.HTTPConnection(address, timeout=60)
            connection.request("GET", "/modules")
            assert connection.getresponse().status == 200
            connection.close()
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(60)
        size = sum(path.lstat().st_size for path in (clone / ".venv-run").rglob("*") if path.is_file()) / 1e6
        assert not (clone / ".venv").exists(), "it installed what development needs"
        print(f"make run in an empty clone: {took:.0f} s with downloads, {size:.0f} MB")
        if size > MOST_MB:
            print(f"more than {MOST_MB} MB", file=sys.stderr)
            return 1
    return 0


def program(name: str) -> str:
    found = shutil.which(name)
    return found if found else sys.exit(f"there is no {name}")


def served(process: subprocess.Popen[bytes], log: Path, deadline: float) -> str:
    """The address that the service prints."""
    while time.monotonic() < deadline:
        address = _SERVES.search(log.read_text())
        if address:
            return address[1]
        if process.poll() is not None:
            break
        time.sleep(0.1)
    sys.exit(f"the service did not start:\n{log.read_text()}")


if __name__ == "__main__":
    sys.exit(main())
