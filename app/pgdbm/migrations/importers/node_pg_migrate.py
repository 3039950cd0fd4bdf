"""node-pg-migrate: a row per migration, by file name. Its dry run prints the SQL of both JavaScript and SQL migrations.

``node-pg-migrate up --dry-run`` writes each below a line ``### MIGRATION name (UP) ###``, with the statement that
records it at the end.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .exports import NOTHING, export_of, steps
from .records import Record, ToolHistory, rows_of
from .rewrite import Converted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...core.connection import Connection, Row
    from ..sources.migration import Migration

TABLE: str = "pgmigrations"
SCHEMA: str | None = None
COLUMNS = frozenset({"id", "name", "run_on"})

_UP = re.compile(r"^### MIGRATION (?P<name>.+) \(UP\) ###[ \t]*\r?$\n?", re.MULTILINE)
_DOWN = re.compile(r"^### MIGRATION (?P<name>.+) \(DOWN\) ###[ \t]*\r?$\n?", re.MULTILINE)
_BOOKKEEPING = re.compile(
    r"^(?:INSERT INTO \S+ \(name, run_on\) VALUES \('.*', NOW\(\)\)|DELETE FROM \S+ WHERE name='.*');[ \t]*\r?$",
    re.MULTILINE,
)
_OUTSIDE = re.compile(r"\s*COMMIT;[ \t]*\r?\n")
# The tool adds a semicolon to the text of a file.
_LONE_SEMICOLON = re.compile(r"^;[ \t]*\r?$\n?", re.MULTILINE)


async def read(connection: Connection, schema: str, table: str) -> Sequence[Row]:
    """Each migration that is applied, with its time, oldest first."""
    return await rows_of(connection, "node_pg_migrate", schema, table)


def match(rows: Sequence[Row], migrations: Sequence[Migration]) -> ToolHistory:
    """Matches files by name, which the tool records without the suffix."""
    by_stem = {migration.filename.removesuffix(".sql"): migration for migration in migrations}
    records = tuple(Record(by_stem[row["name"]], row["applied_at"]) for row in rows if row["name"] in by_stem)
    note = "node-pg-migrate keeps no checksums, so it is not known whether the files are the ones that it applied."
    return ToolHistory(
        records,
        unmatched=tuple(row["name"] for row in rows if row["name"] not in by_stem),
        notes=(note,) if records else (),
    )


def convert(files: Mapping[str, str]) -> Converted:
    """``name.sql`` from ``upgrade.sql``, the output of ``up --dry-run`` in an empty database; its down migration from
    ``downgrade.sql``, the output of ``down COUNT --dry-run``, if that exists."""
    converted = Converted()
    for mark, export, ending in ((_UP, "upgrade.sql", ".sql"), (_DOWN, "downgrade.sql", ".down.sql")):
        for step, sql in steps(mark, export_of(files, export)):
            recorded = _BOOKKEEPING.search(sql)
            body = sql[: recorded.start()] if recorded else sql
            outside = _OUTSIDE.match(body)
            body = _LONE_SEMICOLON.sub("", body[outside.end() :] if outside else body).strip()
            if body or ending == ".sql":
                text = f"{body}\n" if body else NOTHING
                converted.add(f"{step['name']}{ending}", text, no_transaction=outside is not None)
    return converted
