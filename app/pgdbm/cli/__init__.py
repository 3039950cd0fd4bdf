"""The command line ``pgdbm``: migrations, schemas and databases from a shell. Needs the extra ``pgdbm[cli]``."""

from __future__ import annotations

import gc
import sys

__all__ = ["main"]

_ALLOCATED_BETWEEN_COLLECTIONS = 50_000


def main(arguments: list[str] | None = None) -> None:
    """Run ``pgdbm`` with ``arguments`` (default: those of the process) and exit with its exit code."""
    # Importing allocates a hundred thousand long-lived objects: repeated garbage collections would take a twentieth of
    # the time of a command with nothing to do.
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
    sys.exit(code)
