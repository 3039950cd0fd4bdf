"""Names of test databases: unique, and identifying the process that created them.

A name is the prefix, a mark of this machine's boot and process namespace, the pid, something random, and a suffix if
there is one. So only databases that a killed process left behind are recognized later.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import secrets
from pathlib import Path

from ..core.templating import is_identifier
from .server import process_exists

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PROCESSES = Path("/proc/self/ns/pid")
_SUFFIX = re.compile(r"[A-Za-z0-9_]+\Z")
_UNIQUE_BYTES = 4


def database_name(prefix: str, suffix: str | None) -> str:
    """A new name.

    Raises:
        ValueError: ``suffix`` has characters other than letters, digits and underscores, or is too long.
    """
    if suffix is not None and not _SUFFIX.match(suffix):
        raise ValueError(f"Invalid suffix {suffix!r}: use letters, digits and underscores.")
    parts = [_place(), str(os.getpid()), secrets.token_hex(_UNIQUE_BYTES)]
    name = prefix + "_".join(parts if suffix is None else [*parts, suffix])
    if not is_identifier(name):
        raise ValueError(f"Suffix {suffix!r} is too long: the name {name!r} has over 63 characters.")
    return name


def is_left_behind(name: str, prefix: str) -> bool:
    """Whether ``name`` was created by a process of this boot and namespace that no longer runs."""
    match = re.fullmatch(rf"{re.escape(prefix)}{_place()}_(\d+)_[0-9a-f]{{{2 * _UNIQUE_BYTES}}}(_.+)?", name)
    return match is not None and not process_exists(int(match[1]))


@functools.cache
def _place() -> str:
    """The PID namespace in which a pid means the same process as here; random if it is unknown."""
    try:
        seen = f"{_BOOT_ID.read_text().strip()} {_PROCESSES.stat().st_ino}"
    except OSError:
        seen = secrets.token_hex()
    return hashlib.sha256(seen.encode()).hexdigest()[:8]
