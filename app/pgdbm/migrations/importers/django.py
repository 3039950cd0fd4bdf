"""Django: a row per migration of an app. Migrations are Python, so their SQL has to be exported.

The export has the output of ``manage.py sqlmigrate`` for each migration, below a line ``-- Migration app.name``, in the
order of ``manage.py showmigrations --plan``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .exports import MARK, NOTHING, export_of, name_of, stem_of, steps
from .records import Record, ToolHistory, rows_of
from .rewrite import Converted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...core.connection import Connection, Row
    from ..sources.migration import Migration

TABLE: str = "django_migrations"
SCHEMA: str | None = None
COLUMNS = frozenset({"app", "name", "applied"})

_NOT_SQL = "THIS OPERATION CANNOT BE WRITTEN AS SQL"


async def read(connection: Connection, schema: str, table: str) -> Sequence[Row]:
    """Each migration that is applied, with its time, oldest first."""
    return await rows_of(connection, "django", schema, table)


def match(rows: Sequence[Row], migrations: Sequence[Migration]) -> ToolHistory:
    """Matches files by app and name: ``NNN_<app>_<name>.sql``."""
    by_name = {name_of(migration): migration for migration in migrations}
    records = [
        Record(by_name[key], row["applied_at"]) for row in rows if (key := f"{row['app']}_{row['name']}") in by_name
    ]
    return ToolHistory(
        tuple(records),
        unmatched=tuple(f"{row['app']}.{row['name']}" for row in rows if f"{row['app']}_{row['name']}" not in by_name),
        notes=("Django keeps no checksums, so it is not known whether the files are the ones that it applied.",)
        if records
        else (),
    )


def convert(files: Mapping[str, str]) -> Converted:
    """A file per migration from ``upgrade.sql``; its down migration from ``downgrade.sql``, if that exists."""
    converted = Converted()
    ups = steps(MARK, export_of(files, "upgrade.sql"))
    downs = {mark["name"]: sql for mark, sql in steps(MARK, export_of(files, "downgrade.sql"))}
    for number, (mark, sql) in enumerate(ups, 1):
        name = mark["name"]
        stem = stem_of(number, len(ups), name)
        converted.add(f"{stem}.sql", sql.strip() + "\n" if sql.strip() else NOTHING)
        if _NOT_SQL in sql:
            converted.notes.append(
                f"{stem}.sql: part of it is Python, which has no SQL. A new database needs it as SQL."
            )
        back = downs.get(name, "")
        if back.strip() and _NOT_SQL not in back:
            converted.add(f"{stem}.down.sql", back.strip() + "\n")
    return converted
