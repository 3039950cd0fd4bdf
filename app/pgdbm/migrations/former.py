"""What an applied file held before it was changed: the history keeps its checksum only, a git repository all of it."""

from __future__ import annotations

import difflib
import logging
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ..errors import MigrationFileError
from .files import read_migration

if TYPE_CHECKING:
    from pathlib import Path

logger = logging.getLogger("pgdbm.migrations")

Former = Mapping[str, str] | Callable[[str, str], str | None]
"""Former contents: by checksum, or what a call with file name and checksum returns, None where it is not known."""

_PATIENCE_S = 60.0
_SHOWN_CHECKSUM = 12


def diff_to(filename: str, recorded: str, current: str, content: str, former: Former | None) -> str | None:
    """A unified diff from the content whose checksum is ``recorded``; None where that content is not known."""
    if former is None:
        return None
    before = former(filename, recorded) if callable(former) else former.get(recorded)
    if before is None:
        return None
    lines = difflib.unified_diff(
        _lines(before),
        _lines(content),
        f"{filename} (applied, {recorded[:_SHOWN_CHECKSUM]})",
        f"{filename} (now, {current[:_SHOWN_CHECKSUM]})",
        lineterm="",
    )
    return "".join(f"{line}\n" for line in lines)


def _lines(content: str) -> list[str]:
    # As the checksum sees it: a change that it does not is none.
    return content.replace("\r\n", "\n").strip().split("\n")


def in_git(folder: Path) -> Callable[[str, str], str | None]:
    """Former contents of the files in ``folder``, from every branch of the git repository that it is in.

    Finds nothing where there is no repository, or no ``git``.
    """

    def find(filename: str, checksum: str) -> str | None:
        # Both sides of every change: a file that came with a merge has its versions in the branches only.
        changes = _git(folder, "log", "--all", "--raw", "--no-abbrev", "--no-renames", "--format=", "--", filename)
        blobs = dict.fromkeys(
            blob for line in changes.decode("utf-8", "replace").splitlines() for blob in reversed(line.split()[2:4])
        )
        for blob in blobs:
            if not blob.strip("0"):
                continue  # there was no file before, or there is none after
            try:
                version = read_migration(filename, _git(folder, "cat-file", "blob", blob))
            except MigrationFileError:
                continue
            if version.checksum == checksum:
                return version.content
        return None

    return find


def _git(folder: Path, *arguments: str) -> bytes:
    """What ``git`` prints; nothing where it fails."""
    program = shutil.which("git")
    if program is None:
        return b""
    # Names are names, not patterns; and what a repository configures must not start programs.
    command = [program, "--literal-pathspecs", "-c", "log.showSignature=false", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        logger.info("git could not say what %s held: %s", folder, error)
        return b""
    return done.stdout if done.returncode == 0 else b""
