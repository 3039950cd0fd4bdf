"""The table of the audit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ..own_schema import OWN_SCHEMA
from .structs import AuditEntry

if TYPE_CHECKING:
    import uuid
    from collections.abc import Sequence

    from ..database import Database

_WRITE = """
INSERT INTO {{tables.audit}}
    (entry, at, caller, address, method, path, module, run_id, status, problem, request_id)
SELECT * FROM unnest($1::text[]::uuid[], $2::text[]::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[],
                     $7::text[], $8::text[], $9::text[]::integer[], $10::text[], $11::text[])
ON CONFLICT (entry) DO NOTHING
"""

_READ = """
SELECT id, at, caller, address, method, path, module, run_id, status, problem, request_id FROM {{tables.audit}}
WHERE id < COALESCE($1, 9223372036854775807)
  AND ($2::text IS NULL OR caller = $2)
  AND ($3::text IS NULL OR module = $3)
ORDER BY id DESC
LIMIT $4
"""


async def write_entries(database: Database, entries: Sequence[tuple[uuid.UUID, AuditEntry]]) -> None:
    """Write ``entries``; one that was written before is left out."""
    rows = [(key, *msgspec.structs.astuple(entry)) for key, entry in entries]
    columns = [[None if value is None else str(value) for value in column] for column in zip(*rows, strict=True)]
    await database.manager(OWN_SCHEMA).execute(_WRITE, *columns)


async def read_entries(
    database: Database, limit: int, before: int | None, caller: str | None, module: str | None
) -> tuple[list[AuditEntry], int | None]:
    """Up to ``limit`` entries, newest first, behind the one with the id ``before``; and where to go on."""
    rows = await database.manager(OWN_SCHEMA).fetch_all(_READ, before, caller, module, limit + 1)
    ids = [row.pop("id") for row in rows]
    following = ids[limit - 1] if len(rows) > limit else None
    return [AuditEntry(**row) for row in rows[:limit]], following
