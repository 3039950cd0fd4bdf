"""Exports of tools whose migrations are programs: one file has the SQL of all of them, each below a line that names it.
Pure."""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from .rewrite import DIRECTIVE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..sources.migration import Migration

# For tools that export one migration at a time: the loop in the documentation writes this line.
MARK = re.compile(r"^-- Migration (?P<name>\S+)[ \t]*\r?$\n?", re.MULTILINE)

NOTHING = "-- Nothing to do.\n"
"""The content of a file without SQL: an empty one is an error, but a version that does nothing still counts."""

_UNUSUAL = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST_NAME = 120
_DATED_FROM = 1000


def export_of(files: Mapping[str, str], name: str) -> str:
    """The content of the export ``name``; nothing if there is none."""
    return {PurePosixPath(path).name: text for path, text in files.items()}.get(name, "")


def steps(mark: re.Pattern[str], text: str) -> list[tuple[re.Match[str], str]]:
    """Each line that ``mark`` matches, with the SQL below it."""
    marks = list(mark.finditer(text))
    ends = [*(one.start() for one in marks[1:]), len(text)]
    return [(one, text[one.end() : end]) for one, end in zip(marks, ends, strict=False)]


def stem_of(number: int, count: int, name: str) -> str:
    """``NNN_name``, where ``number`` is one of ``count``, and ``name`` may contain any character."""
    # Four digits followed by two numbers would be a date.
    width = 3 if count < _DATED_FROM else max(5, len(str(count)))
    return f"{number:0{width}}_{_UNUSUAL.sub('_', name).strip('_')[:_LONGEST_NAME]}"


def name_of(migration: Migration) -> str:
    """What follows the number in the name of a file that :func:`stem_of` named."""
    number, _, rest = migration.filename.removesuffix(".sql").partition("_")
    return rest if number.isdecimal() else ""


def is_sha256(recorded: str | None, migration: Migration) -> bool:
    """Whether ``recorded`` is the SHA-256 of a file, in hex, with either kind of line ending."""
    text = migration.content.removeprefix(DIRECTIVE)
    unix = migration.content.replace("\r\n", "\n").removeprefix(DIRECTIVE)
    texts = (text, unix, unix.replace("\n", "\r\n"))
    return recorded in [hashlib.sha256(one.encode()).hexdigest() for one in texts]
