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


async def test_asyncpg_knows_all_types_of_its_queries(database: str) -> None:
    """Of one that it does not know, it asks the server: once in each session, for longer than most queries take."""
    config = DatabaseConfig(connection_string=database, min_connections=1, max_connections=1)
    pool = await AsyncDatabaseManager.create_shared_pool(config)
    sent: list[str] = []
    async with pool.acquire() as connection:
        connection.add_query_logger(lambda query: sent.append(query.query))
        db = AsyncDatabaseManager(pool=pool, schema="app")
    files = {"1.sql": "CREATE TABLE {{tables.t}} (id int)", "2.sql": "-- pgdbm:no-transaction\nVACUUM"}
    migrations = AsyncMigrationManager(db, files, "m")
    for _ in range(2):
        await migrations.apply_pending_migrations()
    await migrations.status()
    assert await migrations.drift() is not None
    await pool.close()
    assert any("schema_migrations" in query for query in sent)
    assert [query for query in sent if "typeinfo" in query] == []


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
