"""The password file of libpq, ``~/.pgpass``. It is read for every connection, so that a changed password takes effect.

asyncpg reads it, too, but ignores one that the group may read, as a Secret is that Kubernetes mounts with ``fsGroup``,
and issues a Python warning about it.
"""

from __future__ import annotations

import logging
import re
import stat
from functools import lru_cache
from typing import TYPE_CHECKING

from ..patterns import late_pattern

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

logger = logging.getLogger("pgdbm")

_TOO_OPEN = stat.S_IWGRP | stat.S_IXGRP | stat.S_IRWXO
_FIELD = late_pattern(r"(?:[^\\:]|\\.)*")


def password_in(file: Path, hosts: Sequence[tuple[str, int]], database: str, user: str) -> str | None:
    """The password in the first line of ``file`` that matches one of ``hosts``; None if there is none."""
    reason = why_ignored(file)
    if reason is not None:
        _warn(f"The password file {file} is ignored: {reason}")
        return None
    try:
        # A password may contain other characters that Python treats as line breaks.
        lines = file.read_text("utf-8").split("\n")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        _warn(f"The password file {file} is ignored: {error}")
        return None
    entries = [_fields(line) for line in lines if line.strip() and not line.lstrip().startswith("#")]
    for host, port in hosts:
        # A socket is looked up as localhost.
        wanted = ("localhost" if host.startswith("/") else host, str(port), database, user)
        for *pattern, password in (entry for entry in entries if len(entry) == 5):
            if all(given in ("*", value) for given, value in zip(pattern, wanted, strict=True)):
                return password
    return None


def password_of(file: Path) -> str:
    """The content of ``file``, a password, without the line break at its end.

    Raises:
        OSError, UnicodeDecodeError: it cannot be read.
    """
    return file.read_text("utf-8").removesuffix("\n").removesuffix("\r")


def why_ignored(file: Path) -> str | None:
    """Why the file is not read although it exists; None if it is."""
    try:
        mode = file.stat().st_mode
    except OSError:
        return None
    if not stat.S_ISREG(mode):
        return "it is not a regular file."
    if mode & _TOO_OPEN:
        return f"its mode is {stat.S_IMODE(mode):04o}. Set it to 0600, or to 0640 for a group that may read it."
    return None


def _fields(line: str) -> list[str]:
    """The five fields of a line. A backslash escapes a colon or a backslash; the password may contain colons."""
    fields: list[str] = []
    rest = line.rstrip("\r\n")
    while len(fields) < 4:
        match = _FIELD.match(rest)
        assert match is not None
        if not rest[match.end() :].startswith(":"):
            return fields
        fields.append(re.sub(r"\\(.)", r"\1", match[0]))
        rest = rest[match.end() + 1 :]
    return [*fields, re.sub(r"\\(.)", r"\1", rest)]


@lru_cache(maxsize=64)
def _warn(message: str) -> None:
    # Once, not for every connection.
    logger.warning("%s", message)
