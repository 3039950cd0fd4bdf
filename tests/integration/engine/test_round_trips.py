"""The number of round trips to the server, counted on the wire."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Literal

import pytest

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, DatabaseConfig, MigrationFileError
from pgdbm.migrations.sources import batches
from pgdbm.migrations.state import catalog
from pgdbm.sql import statement

from ...support.counting_proxy import CountingProxy

if TYPE_CHECKING:
    from asyncpg.connection import LoggedQuery

    from pgdbm.migrations.engine.events import Event


async def test_nothing_pending_takes_three_round_trips_at_most(database: str) -> None:
    files = {f"{n:04}.sql": "SELECT 1" for n in range(1, 1001)}
    async with CountingProxy(database) as proxy:
        config = DatabaseConfig(connection_string=proxy.dsn, min_connections=1, max_connections=1)
        pool = await AsyncDatabaseManager.create_shared_pool(config)
        migrations = AsyncMigrationManager(AsyncDatabaseManager(pool=pool, schema="app"), files, "m")
        assert len((await migrations.apply_pending_migrations())["applied"]) == 1000
        for _ in range(3):
            before = proxy.round_trips
            assert (await migrations.apply_pending_migrations())["status"] == "up_to_date"
            assert 1 <= proxy.round_trips - before <= 3
        await pool.close()


async def test_queries_need_no_type_introspection(database: str) -> None:
    """asyncpg queries the catalog for an unknown type, once per session, which takes longer than most queries."""
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


async def test_batchable_files_share_a_round_trip(database: str) -> None:
    files = {f"{n:04}.sql": f"CREATE TABLE {{{{tables.t{n}}}}} (id int)" for n in range(1, 101)}
    async with CountingProxy(database) as proxy:
        config = DatabaseConfig(connection_string=proxy.dsn, min_connections=1, max_connections=1)
        pool = await AsyncDatabaseManager.create_shared_pool(config)
        db = AsyncDatabaseManager(pool=pool, schema="app")
        migrations = AsyncMigrationManager(db, files, "m", snapshots=False)
        before = proxy.round_trips
        assert len((await migrations.apply_pending_migrations())["applied"]) == 100
        assert proxy.round_trips - before < 25
        await pool.close()


async def test_a_deploy_of_a_few_files_takes_few_round_trips(database: str) -> None:
    """Nothing but small files: reading the history, one message, and the snapshot."""
    files = _tables(1, 10)
    counts: dict[bool, list[int]] = {}
    async with CountingProxy(database) as proxy:
        for listens in (False, True):
            config = DatabaseConfig(connection_string=proxy.dsn, min_connections=1, max_connections=1)
            pool = await AsyncDatabaseManager.create_shared_pool(config)
            db = AsyncDatabaseManager(pool=pool, schema=f"app_{listens}".lower())
            await AsyncMigrationManager(db, files, "m").apply_pending_migrations()
            counts[listens] = []
            for last in (13, 16):
                events: list[str] = []
                listener = partial(_append_kind, events) if listens else None
                migrations = AsyncMigrationManager(db, _tables(1, last), "m", on_event=listener)
                before = proxy.round_trips
                result = await migrations.apply_pending_migrations()
                counts[listens].append(proxy.round_trips - before)
                assert [one["filename"] for one in result["applied"]] == list(_tables(last - 2, last))
                assert events.count("migration_ended") == (3 if listens else 0)
            await pool.close()
    # With a listener, too: files that only create tables are sent together.
    assert counts == {False: [13, 10], True: [13, 10]}


@pytest.mark.parametrize("listens", [False, True])
@pytest.mark.parametrize("atomic", ["file", "all"])
async def test_the_times_of_files_come_with_what_applies_them(
    db: AsyncDatabaseManager, listens: bool, atomic: Literal["file", "all"]
) -> None:
    files = {
        "001_a.sql": "SELECT pg_sleep(0.03)",
        "002_b.sql": "SELECT 'pgdbm:took:7:002_b.sql'; SELECT 'pgdbm:took:7:004_d.sql' FROM generate_series(1, 9)",
        "003_ü.sql": "SET client_encoding = 'LATIN1'; CREATE TABLE {{tables.t}} (id int)",
        "004_d.sql": "CREATE TABLE {{tables.u}} (id int)",
    }
    migrations = AsyncMigrationManager(db, files, "m", on_event=(lambda _: None) if listens else None)
    sent: list[str] = []
    async with db.acquire() as connection:
        connection.add_query_logger(lambda query: sent.append(query.query))
    result = await migrations.apply_pending_migrations(atomic=atomic)
    recorded = {row["filename"]: row["execution_time_ms"] for row in await migrations.get_migration_history()}
    assert {one["filename"]: one["execution_time_ms"] for one in result["applied"]} == recorded
    assert recorded["001_a.sql"] >= 30
    # Only of the file whose row the client could not decode.
    asked = [query for query in sent if query == migrations._engine.history.sql("times")]
    assert len(asked) <= 1


async def test_a_backfill_takes_few_round_trips_besides_two_for_each_batch(database: str) -> None:
    table = """CREATE TABLE {{tables.t}} (id int PRIMARY KEY, n int);
    INSERT INTO {{tables.t}} SELECT n FROM generate_series(1, 100) AS n;"""
    fill = "-- pgdbm:backfill table={{tables.t}} key=id batch=10 target=1min\n"
    fill += "UPDATE {{tables.t}} SET n = id WHERE id BETWEEN $from AND $to;"
    files = {"1.sql": table}
    counts = []
    async with CountingProxy(database) as proxy:
        config = DatabaseConfig(connection_string=proxy.dsn, min_connections=1, max_connections=1)
        pool = await AsyncDatabaseManager.create_shared_pool(config)
        db = AsyncDatabaseManager(pool=pool, schema="app")
        await AsyncMigrationManager(db, files, "m", snapshots=False).apply_pending_migrations()
        for name, batch in (("2.sql", "10"), ("3.sql", "10"), ("4.sql", "100")):
            files |= {name: fill.replace("batch=10", f"batch={batch}")}
            before = proxy.round_trips
            await AsyncMigrationManager(db, files, "m", snapshots=False).apply_pending_migrations()
            counts.append(proxy.round_trips - before)
        batches = await db.fetch_all("SELECT batches FROM {{tables.pgdbm_backfills}} ORDER BY filename")
        await pool.close()
    assert [row["batches"] for row in batches] == [4, 4, 1]
    assert counts[1] - counts[2] == 2 * 3, counts
    assert counts[2] <= 36, counts


async def test_a_run_that_loads_the_parser_plans_its_snapshot_concurrently(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = DatabaseConfig(connection_string=database, min_connections=1, max_connections=1)
    for is_near, expected in ((True, ["plan", "run", "snapshot", "run", "snapshot"]), (False, ["run", "snapshot"] * 2)):
        # On a busy machine, a round trip to a near server may take longer than to a distant one.
        monkeypatch.setattr(catalog, "_LONG_ROUND_TRIP_S", 60.0 if is_near else 0.0)
        pool = await AsyncDatabaseManager.create_shared_pool(config)
        db = AsyncDatabaseManager(pool=pool, schema=f"app_{is_near}".lower())
        # The first run lists the whole schema: there is no snapshot yet.
        await AsyncMigrationManager(db, _tables(1, 2), "m").apply_pending_migrations()
        sent: list[str] = []
        async with pool.acquire() as connection:
            connection.add_query_logger(partial(_append_step, sent))
        # As if this process had not parsed anything yet.
        monkeypatch.delitem(sys.modules, batches.__name__)
        for last in (4, 6):
            assert (await AsyncMigrationManager(db, _tables(1, last), "m").apply_pending_migrations())["applied"]
        assert sent == expected
        # An invalid file ends the run, with the connection as it was.
        for broken in range(2):
            invalid = {**_tables(1, 6), "0007.sql": f"SELECT {broken} FROM FROM"}
            with pytest.raises(MigrationFileError):
                await AsyncMigrationManager(db, invalid, "m").apply_pending_migrations()
        assert (await AsyncMigrationManager(db, _tables(1, 7), "m").apply_pending_migrations())["applied"]
        assert (await AsyncMigrationManager(db, {}, "m").drift()).clean
        await pool.close()


def _tables(first: int, last: int) -> dict[str, str]:
    return {f"{n:04}.sql": f"CREATE TABLE {{{{tables.t{n}}}}} (id int)" for n in range(first, last + 1)}


def _append_step(steps: list[str], query: LoggedQuery) -> None:
    if statement("catalog", "are_alone") in query.query:
        steps.append("snapshot" if query.args[3] else "plan")
    elif "CREATE TABLE" in query.query and "pgdbm_" not in query.query:
        steps.append("run")


def _append_kind(kinds: list[str], event: Event) -> None:
    kinds.append(event.kind)


async def test_sessions_keep_one_prepared_statement_of_each_schema_that_they_have_migrated(database: str) -> None:
    """Each change of a catalog makes every session check all of its prepared statements.

    Reading the history is kept, because every run does it, even with nothing pending.
    """
    files = {
        "1.sql": "CREATE TABLE {{tables.t}} (id int)",
        "2.sql": "-- pgdbm:no-transaction\nCREATE INDEX CONCURRENTLY i ON {{tables.t}} (id)",
    }
    config = DatabaseConfig(connection_string=database, min_connections=1, max_connections=1)
    pool = await AsyncDatabaseManager.create_shared_pool(config)
    counts = []
    for number in range(1, 5):
        db = AsyncDatabaseManager(pool=pool, schema=f"tenant_{number}")
        assert (await AsyncMigrationManager(db, files, "m").apply_pending_migrations())["status"] == "success"
        sql = "SELECT count(*) FROM pg_prepared_statements WHERE statement ~ 'tenant_[0-9]'"
        counts.append(await pool.fetchval(sql))
    await pool.close()
    assert counts == [1, 2, 3, 4]


async def test_the_sizes_in_a_plan_take_two_round_trips_at_most(database: str) -> None:
    table = {"1.sql": "CREATE TABLE {{tables.t}} (id int)"}
    queries = {f"{n:03}.sql": "SELECT 1" for n in range(2, 102)}
    locks = {f"{n:03}.sql": f"ALTER TABLE {{{{tables.t}}}} ADD c{n} int" for n in range(2, 102)}
    checks = {f"{n:03}.sql": "ALTER TABLE {{tables.t}} ALTER id SET NOT NULL" for n in range(2, 102)}
    async with CountingProxy(database) as proxy:
        config = DatabaseConfig(connection_string=proxy.dsn, min_connections=1, max_connections=1)
        pool = await AsyncDatabaseManager.create_shared_pool(config)
        db = AsyncDatabaseManager(pool=pool, schema="app")
        await AsyncMigrationManager(db, table, "m").apply_pending_migrations()
        await db.execute("INSERT INTO app.t VALUES (1)")
        round_trips = []
        for files in (queries, queries, locks, locks, checks, checks):
            before = proxy.round_trips
            plan = await AsyncMigrationManager(db, table | files, "m").plan(squawk=False)
            round_trips.append(proxy.round_trips - before)
            assert len(plan.pending) == 100
        assert plan.tables.keys() == {"app.t"}
        assert round_trips[3] - round_trips[1] <= 2, round_trips
        # One more to read the table's constraints, which decide whether it is scanned.
        assert round_trips[5] - round_trips[1] <= 2, round_trips
        await pool.close()


async def test_round_trips_through_a_transaction_pooler(pooled: str) -> None:
    """Without a cache of statements, each query with values takes two."""
    files = {"1.sql": "CREATE TABLE {{tables.t}} (id int)"}
    counts = []
    async with CountingProxy(pooled) as proxy:
        config = DatabaseConfig(
            connection_string=proxy.dsn,
            min_connections=1,
            max_connections=1,
            statement_cache_size=0,
            shared_pool_search_path=None,
        )
        pool = await AsyncDatabaseManager.create_shared_pool(config)
        db = AsyncDatabaseManager(pool=pool, schema="app")
        for more in ({}, {}, {"2.sql": "CREATE TABLE {{tables.u}} (id int)"}):
            before = proxy.round_trips
            files |= more
            result = await AsyncMigrationManager(db, files, "m").apply_pending_migrations()
            counts.append((result["status"], proxy.round_trips - before))
        await pool.close()
    assert counts[1][0] == "up_to_date"
    assert counts[1][1] <= 2
    assert counts[2][0] == "success"
    assert counts[2][1] <= 16, counts


async def test_a_plan_that_was_just_made_is_not_read_again(database: str) -> None:
    files = {f"{n}.sql": f"CREATE TABLE {{{{tables.t{n}}}}} (id int)" for n in range(1, 4)}
    async with CountingProxy(database) as proxy:
        config = DatabaseConfig(connection_string=proxy.dsn, min_connections=1, max_connections=1)
        pool = await AsyncDatabaseManager.create_shared_pool(config)
        migrations = AsyncMigrationManager(AsyncDatabaseManager(pool=pool, schema="app"), files, "m")
        await migrations.apply_pending_migrations(target="1")
        known = await migrations.read_plan(target="1")
        assert [one.filename for one in known.plan.skipped] == ["1.sql"]
        before = proxy.round_trips
        assert (await migrations.apply_pending_migrations(target="1", known=known))["status"] == "up_to_date"
        assert proxy.round_trips - before == 0
        outdated = await migrations.read_plan()
        assert [one.filename for one in outdated.plan.pending] == ["2.sql", "3.sql"]
        await migrations.apply_pending_migrations(target="2")
        result = await migrations.apply_pending_migrations(known=outdated)
        assert [one["filename"] for one in result["applied"]] == ["3.sql"]
        assert result["skipped"] == ["1.sql", "2.sql"]
        await pool.close()


async def test_a_plan_from_before_the_history_was_dropped(db: AsyncDatabaseManager) -> None:
    migrations = AsyncMigrationManager(db, {"1.sql": "CREATE TABLE {{tables.t}} (id int)"}, "m")
    known = await migrations.read_plan()
    assert known.recorded is None
    await migrations.apply_pending_migrations()
    await db.execute(f"DROP SCHEMA {db.schema} CASCADE")
    result = await migrations.with_options(snapshots=False).apply_pending_migrations(known=known)
    assert [one["filename"] for one in result["applied"]] == ["1.sql"]
    assert migrations.with_options(snapshots=False).migrations_path is migrations.migrations_path
