"""Advice where no set of files is equivalent: steps, some of which need a decision. Pure."""

from __future__ import annotations

from .steps import Fix

_RENAME = (
    "Expand and contract, with a release between: 1. Add the new name beside the old one: for a column, ADD COLUMN "
    "with a trigger that copies each value, and a backfill; for a table, rename it and create a view with the old name "
    "in the same file. 2. Release programs that use only the new name. 3. Drop the old name."
)
_REQUIRED = (
    "1. Add the column without NOT NULL, and release programs that write it. 2. Fill the old rows with a backfill. "
    "3. SET NOT NULL: see its own fix, which scans nothing."
)
_INSTEAD = {
    "VACUUM FULL": (
        "VACUUM makes the space reusable without a lock. To return it to the system: pg_repack, or "
        "REPACK (CONCURRENTLY) "
        "since PostgreSQL 19, both outside migrations."
    ),
    "CLUSTER": "pg_repack --order-by, or REPACK (CONCURRENTLY) … USING INDEX since PostgreSQL 19, without the lock.",
    "SET TABLESPACE": (
        "Indexes: REINDEX (CONCURRENTLY, TABLESPACE name). Tables: pg_repack --tablespace, or a new table there, "
        "filled by a trigger and a backfill."
    ),
    "SET ACCESS METHOD": "Create a table with it, fill that with a trigger and a backfill, and exchange the names.",
    "SET LOGGED": "Create a logged table, fill it with a trigger and a backfill, and exchange the names.",
    "SET UNLOGGED": "Create an unlogged table, fill it with a trigger and a backfill, and exchange the names.",
}


def recipe_for(rule: str, message: str) -> Fix | None:
    """The advice instead of files, for a finding of ``rule`` with ``message``."""
    if rule == "PGDBM014":
        return Fix((), _RENAME)
    if rule == "PGDBM004":
        return Fix((), _REQUIRED)
    if rule == "PGDBM020":
        return next((Fix((), note) for done, note in _INSTEAD.items() if message.startswith(done)), None)
    return None
