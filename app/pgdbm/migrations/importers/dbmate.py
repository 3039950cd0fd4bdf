"""dbmate: a row per version; a file contains the migration and its down migration."""

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

TABLE: str = "schema_migrations"
SCHEMA: str | None = None
COLUMNS = frozenset({"version"})

_VERSION = re.compile(r"\d+")
_MARK = re.compile(r"^--[ \t]*migrate:(?P<way>up|down)(?P<options>(?:[ \t]+\S+)*)[ \t]*\r?$\n?", re.MULTILINE)


async def read(connection: Connection, schema: str, table: str) -> Sequence[Row]:
    """The versions that are applied."""
    return await rows_of(connection, "dbmate", schema, table)


def match(rows: Sequence[Row], migrations: Sequence[Migration]) -> ToolHistory:
    """Matches files by version: the digits at the start of the file's name.

    Raises:
        ImportRefusedError: a file has dbmate's sections; the engine would execute the down section too.
    """
    sectioned = [migration.filename for migration in migrations if _MARK.search(migration.content)]
    if sectioned:
        raise unconverted(
            "dbmate", sectioned, "a section `-- migrate:down` would be executed with the rest of the file."
        )
    versions = {row["version"] for row in rows}
    records = tuple(Record(migration) for migration in migrations if _version(migration.filename) in versions)
    found = {_version(record.migration.filename) for record in records}
    return ToolHistory(records, unmatched=tuple(row["version"] for row in rows if row["version"] not in found))


def convert(files: Mapping[str, str]) -> Converted:
    """``V_x.sql`` becomes ``V_x.sql``, and ``V_x.down.sql`` if there is a down section."""
    converted = Converted()
    for path, text in files.items():
        name = PurePosixPath(path).name
        if not name.endswith(".sql") or not _version(name):
            continue
        stem = name.removesuffix(".sql")
        version = _version(name)
        if not stem[len(version) :].startswith(("_", "-")) and stem != version:
            stem = f"{version}_{stem[len(version) :].lstrip('.')}"
        ways = _sections(text)
        if not ways["up"][0]:
            converted.notes.append(f"{name}: has no section `-- migrate:up`; skipped.")
            continue
        for way, ending in (("up", ".sql"), ("down", ".down.sql")):
            bodies, autocommit = ways[way]
            sql = "\n".join(bodies if way == "up" else reversed(bodies)).strip()
            if way == "up" or sql:
                # An empty file is an error, but a version that does nothing still counts.
                converted.add(f"{stem}{ending}", (sql or "-- Nothing to do.") + "\n", no_transaction=autocommit)
    return converted


def _sections(text: str) -> dict[str, tuple[list[str], bool]]:
    """The bodies of the up and the down sections, and whether one of them must run outside a transaction."""
    marks = list(_MARK.finditer(text))
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    found: dict[str, tuple[list[str], bool]] = {"up": ([], False), "down": ([], False)}
    for mark, end in zip(marks, ends, strict=False):
        bodies, autocommit = found[mark["way"]]
        bodies.append(text[mark.end() : end].strip())
        found[mark["way"]] = (bodies, autocommit or "transaction:false" in mark["options"].split())
    return found


def _version(filename: str) -> str:
    digits = _VERSION.match(filename)
    return digits[0] if digits else ""
