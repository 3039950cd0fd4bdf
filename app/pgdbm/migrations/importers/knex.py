"""knex: a row per migration, by file name. Migrations are JavaScript, so their SQL has to be exported.

The export has the statements of each migration below a line ``-- Migration name.js``.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from .exports import MARK, NOTHING, export_of, steps
from .records import Record, ToolHistory, rows_of
from .rewrite import Converted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...core.connection import Connection, Row
    from ..sources.migration import Migration

TABLE: str = "knex_migrations"
SCHEMA: str | None = None
COLUMNS = frozenset({"name", "batch", "migration_time"})


async def read(connection: Connection, schema: str, table: str) -> Sequence[Row]:
    """Each migration that is applied, with its time, oldest first."""
    return await rows_of(connection, "knex", schema, table)


def match(rows: Sequence[Row], migrations: Sequence[Migration]) -> ToolHistory:
    """Matches files by name, ignoring the suffix."""
    by_stem = {migration.filename.removesuffix(".sql"): migration for migration in migrations}
    records = tuple(
        Record(by_stem[stem], row["applied_at"]) for row in rows if (stem := PurePosixPath(row["name"]).stem) in by_stem
    )
    return ToolHistory(
        records,
        unmatched=tuple(row["name"] for row in rows if PurePosixPath(row["name"]).stem not in by_stem),
        notes=("knex keeps no checksums, so it is not known whether the files are the ones that it applied.",)
        if records
        else (),
    )


def convert(files: Mapping[str, str]) -> Converted:
    """``name.sql`` for ``name.js`` from ``upgrade.sql``; its down migration from ``downgrade.sql``, if that exists."""
    converted = Converted()
    for export, ending in (("upgrade.sql", ".sql"), ("downgrade.sql", ".down.sql")):
        for mark, sql in steps(MARK, export_of(files, export)):
            body = sql.strip()
            if body or ending == ".sql":
                converted.add(f"{PurePosixPath(mark['name']).stem}{ending}", f"{body}\n" if body else NOTHING)
    return converted
