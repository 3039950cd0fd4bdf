"""The command line ``pgdbm``: migrations, schemas and databases from a shell. Needs the extra ``pgdbm[cli]``."""

from __future__ import annotations

import atexit
import gc
import os
import sys
import threading
from contextlib import suppress

__all__ = ["main"]

# Importing and reading files creates a hundred thousand objects that stay: with Python's 700, collections would take a
# twentieth of the time of a command with nothing to do, and with 50,000 a single one takes 6 ms.
_ALLOCATED_BETWEEN_COLLECTIONS = 100_000


def main(arguments: list[str] | None = None) -> None:
    """Run ``pgdbm`` with ``arguments`` (default: those of the process) and exit with its exit code.

    With the arguments of the process it does not return, and raises no SystemExit either: the process ends here.
    """
    gc.set_threshold(_ALLOCATED_BETWEEN_COLLECTIONS)
    try:
        from .app import run
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        sys.stderr.write("error: the command line needs the package click: install pgdbm[cli].\n")
        sys.exit(2)
    code = run(arguments)
    # The process is about to exit: a last garbage collection would take a tenth of the time of a command with nothing
    # to do.
    gc.freeze()
    if arguments is None:
        _end_process(code)
    sys.exit(code)


def _end_process(code: int) -> None:
    """Do what Python does at the end of a process, except for destroying every object, which takes 6 ms.

    Returns if a profiler or a debugger still needs them, and if the output cannot be written, which Python reports.
    """
    if sys.gettrace() is not None or sys.getprofile() is not None:
        return
    # Waits for threads, like those of executors, except for daemons.
    threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001
    atexit._run_exitfuncs()  # noqa: SLF001
    with suppress(OSError, ValueError):
        for stream in (sys.stdout, sys.stderr):
            # None in a process without standard streams.
            if stream is not None:
                stream.flush()
        os._exit(code)
