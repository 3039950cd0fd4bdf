"""Supabase: a row per version with the statements that were executed; ``VERSION_name.sql``."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from .exports import NOTHING
from .records import Record, ToolHistory, rows_of
from .rewrite import DIRECTIVE, Converted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...core.connection import Connection, Row
    from ..sources.migration import Migration

TABLE: str = "schema_migrations"
SCHEMA: str | None = "supabase_migrations"
COLUMNS = frozenset({"version", "statements"})

_VERSION = re.compile(r"(\d+)(?=_)")
_BETWEEN = re.compile(r"[\s;]+")


async def read(connection: Connection, schema: str, table: str) -> Sequence[Row]:
    """The versions that are applied, with their statements, oldest first."""
    return await rows_of(connection, "supabase", schema, table)


def match(rows: Sequence[Row], migrations: Sequence[Migration]) -> ToolHistory:
    """By version. The content counts as verified if it equals the recorded statements, apart from white space."""
    by_version = {version[1]: migration for migration in migrations if (version := _VERSION.match(migration.filename))}
    found = {row["version"]: row for row in rows if row["version"] in by_version}
    checked = [
        by_version[version].filename
        for version, row in found.items()
        if row["statements"] and _text(by_version[version].content) == _text(";".join(row["statements"]))
    ]
    others = [one.filename for version, one in by_version.items() if version in found and one.filename not in checked]
    note = f"Supabase recorded statements that differ from the files, or none: {', '.join(others)}."
    return ToolHistory(
        tuple(Record(by_version[version]) for version in found),
        unmatched=tuple(row["version"] for row in rows if row["version"] not in found),
        checked=tuple(checked),
        notes=(note,) if others else (),
    )


def convert(files: Mapping[str, str]) -> Converted:
    """``VERSION_name.sql`` stays as it is, without BEGIN and COMMIT around it."""
    converted = Converted()
    for path, text in files.items():
        name = PurePosixPath(path).name
        if name.endswith(".sql") and _VERSION.match(name):
            converted.add(name, text if text.strip() else NOTHING)
    return converted


def _text(sql: str) -> str:
    return _BETWEEN.sub("", sql.removeprefix(DIRECTIVE))
