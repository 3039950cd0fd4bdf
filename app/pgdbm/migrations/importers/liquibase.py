"""Liquibase: a row per changeset. Changelogs are XML, YAML, JSON or SQL, so their SQL has to be exported.

``liquibase update-sql`` writes the SQL of all changesets, each below a line with its file, id and author.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .exports import export_of, stem_of, steps
from .records import Record, ToolHistory, rows_of, unconverted
from .rewrite import Converted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...core.connection import Connection, Row
    from ..sources.migration import Migration

TABLE: str = "databasechangelog"
SCHEMA: str | None = None
COLUMNS = frozenset({"id", "author", "filename", "dateexecuted", "orderexecuted", "exectype", "md5sum"})

_UP = re.compile(r"^-- Changeset (?P<path>.+?)::(?P<id>.+?)::(?P<author>.+?)[ \t]*\r?$\n?", re.MULTILINE)
_DOWN = re.compile(
    r"^-- Rolling Back ChangeSet: (?P<path>.+?)::(?P<id>.+?)::(?P<author>.+?)[ \t]*\r?$\n?", re.MULTILINE
)
_BOOKKEEPING = re.compile(
    r"^(?:INSERT INTO|DELETE FROM|UPDATE) (?:\S+\.)?databasechangelog(?:lock)?\b[^;]*;[ \t]*\r?$\n?",
    re.MULTILINE | re.IGNORECASE,
)
# Written before and after the changesets, with Liquibase's lock, and at the end.
_FRAME = re.compile(
    r"^-- (?:Release|Lock|Create) Database (?:Change Log )?(?:Lock|Table).*$\n?|^SET SEARCH_PATH = .*;\r?$\n?",
    re.MULTILINE,
)
_APPLIED = ("EXECUTED", "RERAN", "MARK_RAN")

_Key = tuple[str, str, str]


async def read(connection: Connection, schema: str, table: str) -> Sequence[Row]:
    """Every changeset, oldest first."""
    return await rows_of(connection, "liquibase", schema, table)


def match(rows: Sequence[Row], migrations: Sequence[Migration]) -> ToolHistory:
    """Matches files by path, id and author, which are in the line ``-- Changeset …`` at the top of a converted file.

    Raises:
        ImportRefusedError: no file has such a line.
    """
    by_key: dict[_Key, Migration] = {}
    for migration in migrations:
        for mark in _UP.finditer(migration.content):
            by_key[_key(mark["path"], mark["id"], mark["author"])] = migration
    if rows and migrations and not by_key:
        names = [migration.filename for migration in migrations]
        raise unconverted("liquibase", names, "no file has the line `-- Changeset …`, which identifies changesets.")
    done = [row for row in rows if row["exectype"] in _APPLIED]
    known = {_key(row["filename"], row["id"], row["author"]): row for row in done}
    records = tuple(
        Record(by_key[key], row["applied_at"], row["author"]) for key, row in known.items() if key in by_key
    )
    note = "Liquibase's checksums are not computed from SQL, so it is not known whether the files are "
    "the ones that it applied."
    return ToolHistory(
        records,
        unmatched=tuple("::".join(key) for key in known if key not in by_key),
        failed=tuple(f"{row['filename']}::{row['id']}::{row['author']}" for row in rows if row not in done),
        notes=(note,) if records else (),
    )


def convert(files: Mapping[str, str]) -> Converted:
    """A file per changeset from ``upgrade.sql`` (``liquibase update-sql``), with its down migration from
    ``downgrade.sql`` (``liquibase future-rollback-sql``) if that exists."""
    converted = Converted()
    ups = steps(_UP, export_of(files, "upgrade.sql"))
    downs = {
        _key(mark["path"], mark["id"], mark["author"]): _bare(sql)
        for mark, sql in steps(_DOWN, export_of(files, "downgrade.sql"))
    }
    for number, (mark, sql) in enumerate(ups, 1):
        stem = stem_of(number, len(ups), mark["id"])
        converted.add(f"{stem}.sql", f"{mark[0].strip()}\n{_bare(sql)}".strip() + "\n")
        back = downs.get(_key(mark["path"], mark["id"], mark["author"]))
        if back:
            converted.add(f"{stem}.down.sql", back + "\n")
    return converted


def _bare(sql: str) -> str:
    return _FRAME.sub("", _BOOKKEEPING.sub("", sql)).strip()


def _key(path: str, identifier: str, author: str) -> _Key:
    return path.removeprefix("classpath:").lstrip("/"), identifier, author
