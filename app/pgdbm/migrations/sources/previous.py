"""The previous contents of changed files: the history has only checksums, but a git repository has the contents."""

from __future__ import annotations

import difflib
import logging
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ...errors import MigrationFileError
from .migration import read_migration

if TYPE_CHECKING:
    from pathlib import Path

logger = logging.getLogger("pgdbm.migrations")

PreviousContents = Mapping[str, str] | Callable[[str, str], str | None]
"""Previous contents: by checksum, or as a function of file name and checksum, which returns None if unknown."""

_TIMEOUT_S = 60.0
_SHOWN_CHECKSUM = 12


def diff_to(filename: str, recorded: str, current: str, content: str, previous: PreviousContents | None) -> str | None:
    """A unified diff from the content whose checksum is ``recorded``; None if that content is unknown."""
    if previous is None:
        return None
    before = previous(filename, recorded) if callable(previous) else previous.get(recorded)
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
    # Normalized as for the checksum.
    return content.replace("\r\n", "\n").strip().split("\n")


def from_git(folder: Path) -> Callable[[str, str], str | None]:
    """Previous contents of the files in ``folder``, from every branch of the git repository that it is in.

    Finds nothing without a repository, or without ``git``.
    """

    def find(filename: str, checksum: str) -> str | None:
        # Both sides of every change: the versions of a file that came with a merge are only in its branches.
        changes = _git(folder, "log", "--all", "--raw", "--no-abbrev", "--no-renames", "--format=", "--", filename)
        blobs = dict.fromkeys(
            blob for line in changes.decode("utf-8", "replace").splitlines() for blob in reversed(line.split()[2:4])
        )
        for blob in blobs:
            if not blob.strip("0"):
                continue  # the file was added or deleted
            try:
                version = read_migration(filename, _git(folder, "cat-file", "blob", blob))
            except MigrationFileError:
                continue
            if version.matches(checksum):
                return version.content
        return None

    return find


def _git(folder: Path, *arguments: str) -> bytes:
    """The output of ``git``; empty if it fails."""
    program = shutil.which("git")
    if program is None:
        return b""
    # Treat file names literally, and do not let the configuration of a repository start programs.
    command = [program, "--literal-pathspecs", "-c", "log.showSignature=false", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        logger.info("git could not read the previous contents in %s: %s", folder, error)
        return b""
    return done.stdout if done.returncode == 0 else b""
