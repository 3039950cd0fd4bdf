"""A reader and a writer continue while the fixes of schema changes are applied, and the table keeps its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ...support.held_up import fix_of, measured, prepared
from ...support.schema_changes import CHANGES

if TYPE_CHECKING:
    from pgdbm import AsyncDatabaseManager

ROWS = 3000
FIXED = (
    *("add a column with a volatile default", "add a column with a volatile default, NOT NULL"),
    *("add an identity column", "add a serial column", "change the type of a column", "set NOT NULL"),
    *("create an index", "drop an index", "rebuild an index", "add a foreign key", "add a check"),
    *("add a unique constraint", "change the primary key"),
)


@pytest.mark.parametrize("change", CHANGES)
async def test_a_fix_applies_while_others_read_and_write(db: AsyncDatabaseManager, database: str, change: str) -> None:
    files = await prepared(db, ROWS)
    fix = await fix_of(db, files, CHANGES[change])
    assert (fix is not None) == (change in FIXED)
    if fix is None:
        return
    found = await measured(db, {**files, **fix}, database)
    assert min(found.reads, found.writes) > 0
    assert await db.fetch_value("SELECT count(*) FROM app.big") == ROWS
    if change.startswith("add a") and "column" in change:
        assert await db.fetch_value("SELECT count(*) FROM app.big WHERE added IS NULL") == 0
        distinct = await db.fetch_value("SELECT count(DISTINCT added) FROM app.big")
        assert distinct == ROWS
