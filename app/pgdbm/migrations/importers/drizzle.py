"""Drizzle: a row per migration with the SHA-256 of its file, and no name; ``0000_name.sql``, in the order of names.

Its time is when the file was generated, not when it was applied.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ..sources.names import has_version
from .exports import NOTHING, is_sha256
from .records import Record, ToolHistory, changed_since, rows_of
from .rewrite import Converted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...core.connection import Connection, Row
    from ..sources.migration import Migration

TABLE: str = "__drizzle_migrations"
SCHEMA: str | None = "drizzle"
COLUMNS = frozenset({"hash", "created_at"})


async def read(connection: Connection, schema: str, table: str) -> Sequence[Row]:
    """The hash of each migration that is applied, oldest first."""
    return await rows_of(connection, "drizzle", schema, table)


def match(rows: Sequence[Row], migrations: Sequence[Migration]) -> ToolHistory:
    """By hash.

    Raises:
        ImportRefusedError: no file has a row's hash, and the file at the row's position has no row: the file was
            changed.
    """
    by_hash = {row["hash"]: migration for row in rows for migration in migrations if is_sha256(row["hash"], migration)}
    known = {migration.filename for migration in by_hash.values()}
    changed = [
        migrations[place].filename
        for place, row in enumerate(rows)
        if row["hash"] not in by_hash and place < len(migrations) and migrations[place].filename not in known
    ]
    if changed:
        raise changed_since("Drizzle", changed, "set its `hash` in __drizzle_migrations to the SHA-256 of the file")
    found = list(dict.fromkeys(by_hash[row["hash"]] for row in rows if row["hash"] in by_hash))
    return ToolHistory(
        tuple(map(Record, found)),
        unmatched=tuple(row["hash"] for row in rows if row["hash"] not in by_hash),
        checked=tuple(migration.filename for migration in found),
        notes=("Drizzle records when a file was generated, not when it was applied.",) if found else (),
    )


def convert(files: Mapping[str, str]) -> Converted:
    """``0000_x.sql`` and ``NAME/migration.sql`` stay as they are; a statement-breakpoint is a comment."""
    converted = Converted()
    for path, text in files.items():
        place = PurePosixPath(path)
        name = f"{place.parent.name}.sql" if place.name == "migration.sql" else place.name
        if name.endswith(".sql") and has_version(name):
            converted.add(name, text if text.strip() else NOTHING, verbatim=True)
    return converted
