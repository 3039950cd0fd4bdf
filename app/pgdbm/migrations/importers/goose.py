"""goose: a row each time a version is applied or reverted; a file has an up and a down section."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from .records import Record, ToolHistory, rows_of, unconverted
from .rewrite import Converted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...core.connection import Connection, Row
    from ..sources.migration import Migration

TABLE: str = "goose_db_version"
SCHEMA: str | None = None
COLUMNS = frozenset({"version_id", "is_applied", "tstamp"})

_VERSION = re.compile(r"(\d+)(?=_)")
_ANNOTATION = re.compile(
    r"^--[ \t]*\+goose[ \t]+(?P<command>[^\r\n]*?)[ \t]*\r?(?:\n|\Z)", re.MULTILINE | re.IGNORECASE
)


async def read(connection: Connection, schema: str, table: str) -> Sequence[Row]:
    """The versions whose last row says that they are applied, oldest first."""
    return await rows_of(connection, "goose", schema, table)


def match(rows: Sequence[Row], migrations: Sequence[Migration]) -> ToolHistory:
    """Matches files by version: the number at the start of the file's name.

    Raises:
        ImportRefusedError: a file has goose's sections; the engine would execute the down section, too.
    """
    sectioned = [one.filename for one in migrations if "down" in _commands(one.content)]
    if sectioned:
        raise unconverted("goose", sectioned, "a section `-- +goose Down` would be executed with the rest of the file.")
    by_version = {version: one for one in migrations if (version := _version(one.filename)) is not None}
    return ToolHistory(
        tuple(
            Record(by_version[row["version_id"]], row["applied_at"]) for row in rows if row["version_id"] in by_version
        ),
        # goose writes a row for version 0 when it creates its table.
        unmatched=tuple(
            str(row["version_id"]) for row in rows if row["version_id"] not in by_version and row["version_id"] != 0
        ),
    )


def convert(files: Mapping[str, str]) -> Converted:
    """``N_x.sql`` has the up section, and ``N_x.down.sql`` the down section, if that has SQL."""
    converted = Converted()
    for path, text in files.items():
        name = PurePosixPath(path).name
        if name.endswith(".go") and _version(name) is not None:
            converted.notes.append(f"{path}: skipped; pgdbm runs only SQL.")
        if not name.endswith(".sql") or _version(name) is None:
            continue
        up, down, commands = _sections(text)
        if "up" not in commands:
            converted.notes.append(f"{path}: has no section `-- +goose Up`; skipped.")
            continue
        if "envsub on" in commands:
            converted.notes.append(f"{path}: uses ENVSUB; pgdbm does not substitute environment variables.")
        untransacted = "no transaction" in commands
        # An empty file is an error, and a version that does nothing still counts.
        converted.add(name, (up or "-- Nothing to do.") + "\n", no_transaction=untransacted)
        if down:
            converted.add(f"{name.removesuffix('.sql')}.down.sql", f"{down}\n", no_transaction=untransacted)
    return converted


def _sections(text: str) -> tuple[str, str, frozenset[str]]:
    """The SQL of the up section and of the down section, and the annotations, in lower case."""
    sections = {"up": "", "down": ""}
    current, start = "", 0
    for annotation in _ANNOTATION.finditer(text):
        if current:
            sections[current] += text[start : annotation.start()]
        command = annotation["command"].lower()
        current = command if command in sections else current
        start = annotation.end()
    if current:
        sections[current] += text[start:]
    return sections["up"].strip(), sections["down"].strip(), _commands(text)


def _commands(text: str) -> frozenset[str]:
    return frozenset(" ".join(one["command"].lower().split()) for one in _ANNOTATION.finditer(text))


def _version(filename: str) -> int | None:
    number = _VERSION.match(filename)
    return int(number[1]) if number else None
