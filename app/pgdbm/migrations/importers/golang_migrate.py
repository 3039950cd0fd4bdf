"""golang-migrate: one row with the version that the schema is at; ``N_name.up.sql`` and ``N_name.down.sql``."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from ...core.identifiers import quote
from ...sql import statement
from .reading import ImportRefusedError, Reading, Record
from .rewriting import Converted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..files import Migration

TABLE: str = "schema_migrations"
COLUMNS = frozenset({"version", "dirty"})

_NAME = re.compile(r"(?P<version>\d+)_(?P<title>.*)\.(?P<way>up|down)\.sql\Z")
_VERSION = re.compile(r"(\d+)(?=[_-])")


async def read(connection: Any, schema: str, table: str) -> Sequence[Mapping[str, Any]]:
    """The version, or nothing where no migration is applied."""
    source = f"{quote(schema)}.{quote(table)}"
    rows: Sequence[Mapping[str, Any]] = await connection.fetch(statement("importers", "golang_migrate", source=source))
    return rows


def match(rows: Sequence[Mapping[str, Any]], migrations: Sequence[Migration]) -> Reading:
    """Every file up to the version: the tool keeps no more than that.

    Raises:
        ImportRefusedError: the version is dirty.
    """
    if not rows:
        return Reading()
    version: int = rows[0]["version"]
    if rows[0]["dirty"]:
        raise ImportRefusedError(
            f"golang-migrate has version {version} as dirty: it failed half-way, and nobody knows what of it is done. "
            f"Look at the schema, finish or undo the file by hand, tell golang-migrate so (`migrate force VERSION`, "
            f"with the version that the schema is really at), and import then.",
            "failed",
            [str(version)],
        )
    numbered = [(migration, _VERSION.match(migration.filename)) for migration in migrations]
    reached = [migration for migration, number in numbered if number and int(number[1]) <= version]
    is_there = any(number and int(number[1]) == version for _, number in numbered)
    note = f"golang-migrate keeps its version only ({version}): every file up to it counts as applied."
    return Reading(
        tuple(map(Record, reached)),
        unmatched=() if is_there else (str(version),),
        notes=(note,) if reached else (),
    )


def convert(files: Mapping[str, str]) -> Converted:
    """``N_x.up.sql`` becomes ``N_x.sql``; ``N_x.down.sql`` keeps its name."""
    converted = Converted()
    for path, text in files.items():
        parts = _NAME.match(PurePosixPath(path).name)
        if parts is None:
            if path.endswith(".sql"):
                converted.notes.append(f"{path}: is no migration of golang-migrate; left out.")
            continue
        stem = f"{parts['version']}_{parts['title']}"
        if text.strip():
            converted.add(f"{stem}{'.down' if parts['way'] == 'down' else ''}.sql", text)
        elif parts["way"] == "up":
            converted.add(f"{stem}.sql", "-- Nothing to do.\n")
    return converted
