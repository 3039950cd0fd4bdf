"""In which of many schemas something is pending, in a few queries: most often in none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgdbm.core.identifiers import quote
from pgdbm.errors import QueryError

from ..history_tables import HISTORY_TABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgdbm.core.manager import AsyncDatabaseManager
    from pgdbm.migrations import Migration

_IN_STATEMENT = 100
_WITH_HISTORY = """
SELECT n.nspname AS schema
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = $1 AND c.relkind IN ('r', 'p') AND n.nspname = ANY ($2::text[])
"""
_APPLIED = """
SELECT {number} AS number, pg_catalog.count(*) AS applied
FROM {table} h JOIN unnest($2::text[], $3::text[]) AS f (filename, checksum)
  ON f.filename = h.filename AND (f.checksum = h.checksum OR f.checksum IS NULL)
WHERE h.module_name = $1 OR h.module_name IS NULL
"""
_DROPPED_MEANWHILE = frozenset({"42P01", "3F000"})


async def schemas_with_pending(
    db: AsyncDatabaseManager, module: str, schemas: Sequence[str], files: Sequence[Migration], *, as_now: bool = True
) -> list[str]:
    """Those of ``schemas``, in their order, whose history does not have every one of ``files``.

    ``as_now``: with the content that they have now; else with whichever.
    """
    found = await db.fetch_all(_WITH_HISTORY, HISTORY_TABLE, list(schemas))
    begun = [row["schema"] for row in found]
    names, checksums = [file.filename for file in files], [file.checksum if as_now else None for file in files]
    done: set[str] = set()
    for start in range(0, len(begun), _IN_STATEMENT):
        part = begun[start : start + _IN_STATEMENT]
        query = " UNION ALL ".join(
            _APPLIED.format(number=number, table=f"{quote(schema)}.{quote(HISTORY_TABLE)}")
            for number, schema in enumerate(part)
        )
        try:
            rows = await db.fetch_all(query, module, names, checksums)
        except QueryError as error:
            # A schema went away meanwhile: migrating them says so of that one alone.
            if error.details.get("sqlstate") not in _DROPPED_MEANWHILE:
                raise
            continue
        done |= {part[row["number"]] for row in rows if row["applied"] >= len(files)}
    return [schema for schema in schemas if schema not in done]
