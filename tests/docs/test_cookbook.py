"""The recipes for changes without downtime work, and take the locks that the page shows."""

from __future__ import annotations

import asyncio

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, DatabaseConfig

from .cookbook import PAGE, files, page_with, rehearsed, rows


def test_the_locks_are_those_that_a_rehearsal_measures(database: str) -> None:
    rehearsal = asyncio.run(rehearsed(database))
    assert rehearsal.failure is None
    assert page_with(rows(rehearsal)) == PAGE.read_text()


async def test_the_recipes_change_a_table_with_rows(database: str) -> None:
    recipes = files()
    first = min(recipes)
    async with AsyncDatabaseManager(DatabaseConfig(connection_string=database, schema="shop")) as db:
        await AsyncMigrationManager(db, {first: recipes[first]}, "shop").apply_pending_migrations()
        await db.execute("INSERT INTO {{tables.customers}} SELECT i, i::text FROM generate_series(1, 20) i")
        await db.execute(
            "INSERT INTO {{tables.orders}} (customer, status, total)"
            " SELECT 1 + i % 20, 'new', i FROM generate_series(1, 12000) i"
        )
        result = await AsyncMigrationManager(db, recipes, "shop").apply_pending_migrations()
        assert len(result["applied"]) == len(recipes) - 1
        assert await db.fetch_value("SELECT sum(total_cents) FROM {{tables.orders}}") == 100 * 12000 * 12001 // 2
        assert await db.fetch_value("SELECT count(*) FROM {{tables.customers}}") == 20
