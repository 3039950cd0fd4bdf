"""How often the engine talks to the server, counted on the wire."""

from __future__ import annotations

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, DatabaseConfig

from .counting import CountingProxy


async def test_nothing_pending_takes_three_round_trips_at_most(database: str) -> None:
    files = {f"{n:04}.sql": "SELECT 1" for n in range(1, 1001)}
    async with CountingProxy(database) as proxy:
        config = DatabaseConfig(connection_string=proxy.dsn, min_connections=1, max_connections=1)
        pool = await AsyncDatabaseManager.create_shared_pool(config)
        migrations = AsyncMigrationManager(AsyncDatabaseManager(pool=pool, schema="app"), files, "m")
        assert len((await migrations.apply_pending_migrations())["applied"]) == 1000
        for _ in range(3):
            before = proxy.turns
            assert (await migrations.apply_pending_migrations())["status"] == "up_to_date"
            assert 1 <= proxy.turns - before <= 3
        await pool.close()


async def test_cheap_files_travel_together(database: str) -> None:
    files = {f"{n:04}.sql": f"CREATE TABLE {{{{tables.t{n}}}}} (id int)" for n in range(1, 101)}
    async with CountingProxy(database) as proxy:
        config = DatabaseConfig(connection_string=proxy.dsn, min_connections=1, max_connections=1)
        pool = await AsyncDatabaseManager.create_shared_pool(config)
        db = AsyncDatabaseManager(pool=pool, schema="app")
        migrations = AsyncMigrationManager(db, files, "m", snapshots=False)
        before = proxy.turns
        assert len((await migrations.apply_pending_migrations())["applied"]) == 100
        assert proxy.turns - before < 25
        await pool.close()
