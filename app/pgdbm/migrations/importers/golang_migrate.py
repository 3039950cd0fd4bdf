"""golang-migrate: one row with the current version of the schema; ``N_name.up.sql`` and ``N_name.down.sql``."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from .records import ImportRefusedError, Record, ToolHistory, rows_of
from .rewrite import Converted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...core.connection import Connection, Row
    from ..sources.migration import Migration

TABLE: str = "schema_migrations"
SCHEMA: str | None = None
COLUMNS = frozenset({"version", "dirty"})

_NAME = re.compile(r"(?P<version>\d+)_(?P<title>.*)\.(?P<way>up|down)\.sql\Z")
_VERSION = re.compile(r"(\d+)(?=[_-])")


async def read(connection: Connection, schema: str, table: str) -> Sequence[Row]:
    """The version, or nothing if no migration is applied."""
    return await rows_of(connection, "golang_migrate", schema, table)


def match(rows: Sequence[Row], migrations: Sequence[Migration]) -> ToolHistory:
    """Every file up to the version, which is all that the tool records.

    Raises:
        ImportRefusedError: the version is dirty.
    """
    if not rows:
        return ToolHistory()
    version: int = rows[0]["version"]
    if rows[0]["dirty"]:
        raise ImportRefusedError(
            f"golang-migrate has marked version {version} as dirty: it failed halfway through, and it is "
            f"unknown what was executed. "
            f"Check the schema, complete or revert the file manually, run `migrate force VERSION` with the version "
            f"that the schema has, and then import.",
            "failed",
            [str(version)],
        )
    numbered = [(migration, _VERSION.match(migration.filename)) for migration in migrations]
    reached = [migration for migration, number in numbered if number and int(number[1]) <= version]
    is_there = any(number and int(number[1]) == version for _, number in numbered)
    note = f"golang-migrate keeps only its version ({version}), so every file up to it counts as applied."
    return ToolHistory(
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
                converted.notes.append(f"{path}: is not a golang-migrate migration; skipped.")
            continue
        stem = f"{parts['version']}_{parts['title']}"
        if text.strip():
            converted.add(f"{stem}{'.down' if parts['way'] == 'down' else ''}.sql", text)
        elif parts["way"] == "up":
            converted.add(f"{stem}.sql", "-- Nothing to do.\n")
    return converted
