"""Statements that the server runs outside a transaction block only, as in psql."""

from __future__ import annotations

import pytest

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, MigrationExecutionError, MigrationFileError

PARTITIONED = (
    "CREATE TABLE {{tables.p}} (id int, k int) PARTITION BY RANGE (id);"
    "CREATE TABLE {{tables.p1}} PARTITION OF {{tables.p}} FOR VALUES FROM (1) TO (10);"
    "CREATE INDEX p_k ON {{tables.p}} (k);"
)
MARKER = "-- pgdbm:no-transaction\n"


@pytest.mark.parametrize("statement", ["REINDEX TABLE {{tables.p}}", "REINDEX INDEX {{schema}}.p_k"])
async def test_reindex_of_a_partitioned_table(db: AsyncDatabaseManager, statement: str) -> None:
    files = {"001_p.sql": PARTITIONED, "002_r.sql": f"{MARKER}{statement};"}
    migrations = AsyncMigrationManager(db, files, "m")
    rehearsal = await migrations.rehearse()
    assert rehearsal.succeeded, rehearsal
    result = await migrations.apply_pending_migrations()
    assert [one["filename"] for one in result["applied"]] == ["001_p.sql", "002_r.sql"]


async def test_reindex_of_a_partitioned_table_without_the_marker(db: AsyncDatabaseManager) -> None:
    files = {"001_p.sql": PARTITIONED, "002_r.sql": "REINDEX TABLE {{tables.p}};"}
    with pytest.raises(MigrationExecutionError, match="cannot run inside a transaction block"):
        await AsyncMigrationManager(db, files, "m").apply_pending_migrations()


async def test_reindex_of_an_ordinary_table_needs_no_marker(db: AsyncDatabaseManager) -> None:
    files = {"001_p.sql": PARTITIONED, "002_r.sql": "REINDEX TABLE {{tables.p1}};"}
    await AsyncMigrationManager(db, files, "m").apply_pending_migrations()


async def test_a_subscription_that_is_refreshed(db: AsyncDatabaseManager) -> None:
    with pytest.raises(MigrationFileError, match="REFRESH PUBLICATION cannot run inside a transaction"):
        await AsyncMigrationManager(
            db, {"001_s.sql": "ALTER SUBSCRIPTION nope REFRESH PUBLICATION;"}, "m"
        ).apply_pending_migrations()
    files = {"001_s.sql": f"{MARKER}ALTER SUBSCRIPTION nope REFRESH PUBLICATION;"}
    with pytest.raises(MigrationExecutionError, match='subscription "nope" does not exist'):
        await AsyncMigrationManager(db, files, "m").apply_pending_migrations()
