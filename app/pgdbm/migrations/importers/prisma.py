"""Prisma: a row per attempt, with a checksum; a folder per migration, with ``migration.sql`` inside.

The checksum is the SHA-256 of the file.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from .exports import NOTHING, is_sha256
from .records import ImportRefusedError, Record, ToolHistory, changed_since, rows_of, some_of
from .rewrite import Converted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...core.connection import Connection, Row
    from ..sources.migration import Migration

TABLE: str = "_prisma_migrations"
SCHEMA: str | None = None
COLUMNS = frozenset({"checksum", "finished_at", "migration_name", "rolled_back_at", "started_at"})


async def read(connection: Connection, schema: str, table: str) -> Sequence[Row]:
    """Every attempt, oldest first."""
    return await rows_of(connection, "prisma", schema, table)


def match(rows: Sequence[Row], migrations: Sequence[Migration]) -> ToolHistory:
    """Matches files by the name of the folder, which is that of the converted file.

    Raises:
        ImportRefusedError: a migration has failed and was not resolved, or a file is not the one that was applied.
    """
    failed = [row["migration_name"] for row in rows if not row["finished_at"] and not row["rolled_back_at"]]
    if failed:
        raise ImportRefusedError(
            f"Prisma has marked {some_of(failed)} as failed. Undo what is left of it, run `prisma migrate resolve "
            f"--rolled-back NAME`, and then import; the file will be pending.",
            "failed",
            failed,
        )
    by_name = {migration.filename.removesuffix(".sql"): migration for migration in migrations}
    applied = {row["migration_name"]: row for row in rows if not row["rolled_back_at"]}
    records = {
        name: Record(by_name[name], row["finished_at"], None, row["took_ms"])
        for name, row in applied.items()
        if name in by_name
    }
    changed = [
        record.migration.filename
        for name, record in records.items()
        if not _is_empty(record.migration) and not is_sha256(applied[name]["checksum"], record.migration)
    ]
    if changed:
        raise changed_since("Prisma", changed, "set its `checksum` in _prisma_migrations to the SHA-256 of the file")
    return ToolHistory(
        tuple(records.values()),
        unmatched=tuple(name for name in applied if name not in by_name),
        failed=tuple(dict.fromkeys(row["migration_name"] for row in rows if row["rolled_back_at"])),
        checked=tuple(record.migration.filename for record in records.values() if not _is_empty(record.migration)),
    )


def convert(files: Mapping[str, str]) -> Converted:
    """``NAME/migration.sql`` becomes ``NAME.sql``, and ``NAME/down.sql`` becomes ``NAME.down.sql``."""
    converted = Converted()
    for path, text in files.items():
        place = PurePosixPath(path)
        name = place.parent.name
        if place.name == "migration.sql" and name:
            converted.add(f"{name}.sql", text if text.strip() else NOTHING, verbatim=True)
        elif place.name == "down.sql" and name and text.strip():
            converted.add(f"{name}.down.sql", text)
    return converted


def _is_empty(migration: Migration) -> bool:
    return migration.content == NOTHING
