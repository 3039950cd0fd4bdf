"""The memory that a command takes in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_PROGRAM = """
import re, sys
from pathlib import Path
from pgdbm.cli import main

try:
    main(["migrate", sys.argv[3], "m", "--dir", sys.argv[2], "--database-url", sys.argv[1]])
except SystemExit as ended:
    assert not ended.code, ended
# Not getrusage: that of a child begins with the peak of its parent.
print(int(re.search("VmHWM:(.*) kB", Path("/proc/self/status").read_text())[1]) * 1024, file=sys.stderr)
"""


def peak_memory_of_migrate(command: str, database: str, folder: Path) -> int:
    """The most bytes that ``pgdbm migrate COMMAND`` takes for the module ``m``, whose files are in ``folder``."""
    arguments = [sys.executable, "-c", _PROGRAM, database, str(folder), command]
    done = subprocess.run(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stderr.split()[-1])
