"""Each file starts in a clean session and leaves nothing in it; statements of pgdbm itself run as its own user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import asyncpg
import pytest

import pgdbm
from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, DatabaseConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

NO_TRANSACTION = "-- pgdbm:no-transaction\n"


@pytest.fixture(params=["batched", "by statement"])
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Without a listener, batchable files share a message; with one, every statement is a message."""
    return {"on_event": lambda _: None} if request.param == "by statement" else {}


@pytest.fixture
async def db(database: str) -> AsyncIterator[AsyncDatabaseManager]:
    """A manager of schema ``app`` with one connection, on which everything runs."""
    config = DatabaseConfig(connection_string=database, schema="app", min_connections=1, max_connections=1)
    manager = AsyncDatabaseManager(config)
    await manager.connect()
    yield manager
    await manager.close()


@pytest.fixture
async def role(db: AsyncDatabaseManager) -> AsyncIterator[str]:
    name = "test_app_owner"
    await db.execute(f"DROP ROLE IF EXISTS {name}")
    await db.execute(f"CREATE ROLE {name}")
    await db.execute(f"GRANT USAGE, CREATE ON SCHEMA app TO {name}")
    yield name
    await db.execute(f"DROP OWNED BY {name}")
    await db.execute(f"DROP ROLE {name}")


async def apply(db: AsyncDatabaseManager, files: dict[str, str], **options: Any) -> dict[str, Any]:
    return await AsyncMigrationManager(db, files, options.pop("module", "m"), **options).apply_pending_migrations()


async def require_no_trace(db: AsyncDatabaseManager) -> None:
    """The connection is as it was when it was opened."""
    row = await db.fetch_one(
        "SELECT current_user = session_user AS is_us, current_setting('role') AS role,"
        " current_setting('search_path') AS path, current_setting('TimeZone') = (SELECT reset_val FROM pg_settings"
        " WHERE name = 'TimeZone') AS zone, current_setting('client_encoding') AS encoding,"
        " (SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema() AND relkind = 'r') AS temporary,"
        " (SELECT count(*) FROM pg_prepared_statements WHERE from_sql) AS prepared,"
        " (SELECT count(*) FROM pg_cursors WHERE is_holdable) AS cursors,"
        " (SELECT count(*) FROM pg_listening_channels()) AS listening,"
        " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()) AS locks"
    )
    assert row == {
        "is_us": True,
        "role": "none",
        "path": '"app", public',
        "zone": True,
        "encoding": "UTF8",
        "temporary": 0,
        "prepared": 0,
        "cursors": 0,
        "listening": 0,
        "locks": 0,
    }


LEFT_BEHIND = [
    "CREATE TEMP TABLE scratch (a int);",
    "CREATE DOMAIN pg_temp.text AS varchar;",
    "SELECT 1 AS a INTO TEMP scratch;",
    "PREPARE plan1 AS SELECT 1;",
    "DO $$ BEGIN EXECUTE 'PREPARE plan1 AS SELECT 1'; END $$;",
    "DECLARE kept CURSOR WITH HOLD FOR SELECT 1;",
    "LISTEN news;",
    "SELECT pg_advisory_lock(42);",
    "SET search_path TO pg_catalog;",
    "SELECT set_config('search_path', 'pg_catalog', false);",
    "DO $$ BEGIN EXECUTE 'SET search_path TO pg_catalog'; END $$;",
    "SET ROLE test_app_owner;",
    "SET LOCAL ROLE test_app_owner;",
    "SET SESSION AUTHORIZATION test_app_owner;",
    "DO $$ BEGIN SET ROLE test_app_owner; END $$;",
    "SET TIME ZONE 'Asia/Tokyo';",
    "SET client_encoding = 'LATIN1';",
    "SET standard_conforming_strings = on; SET DateStyle = 'German'; SET IntervalStyle = 'sql_standard';",
    "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$ SELECT set_config('search_path', 'pg_catalog', false) $$;"
    " SELECT f(); DROP FUNCTION app.f();",
    "SET default_transaction_isolation = 'serializable';",
]


@pytest.mark.usefixtures("role")
@pytest.mark.parametrize("left", LEFT_BEHIND)
async def test_a_file_leaves_nothing_behind(db: AsyncDatabaseManager, options: dict[str, Any], left: str) -> None:
    files = {
        "1.sql": left,
        "2.sql": f"{left} SELECT 2;",
        "3.sql": "CREATE TABLE created ();",
        "4.sql": "CREATE TABLE four AS SELECT current_user::text AS who, current_setting('search_path') AS path;",
    }
    result = await apply(db, files, **options)
    assert len(result["applied"]) == 4
    assert await db.fetch_one("SELECT who = session_user AS us, path FROM app.four") == {
        "us": True,
        "path": '"app", public',
    }
    assert await db.table_exists("app.created")
    await require_no_trace(db)


@pytest.mark.usefixtures("role")
@pytest.mark.parametrize("left", [left for left in LEFT_BEHIND if "LOCAL" not in left])
async def test_a_file_without_a_transaction_leaves_nothing_behind(db: AsyncDatabaseManager, left: str) -> None:
    files = {
        "1.sql": NO_TRANSACTION + left,
        "2.sql": f"{NO_TRANSACTION}{left} SELECT 2;",
        "3.sql": "CREATE TABLE created ();",
    }
    assert len((await apply(db, files))["applied"]) == 3
    assert await db.table_exists("app.created")
    await require_no_trace(db)


@pytest.mark.usefixtures("role")
@pytest.mark.parametrize("left", LEFT_BEHIND)
async def test_a_file_that_fails_leaves_nothing_behind(
    db: AsyncDatabaseManager, options: dict[str, Any], left: str
) -> None:
    with pytest.raises(pgdbm.MigrationExecutionError, match="division by zero"):
        await apply(db, {"1.sql": left, "2.sql": left + " SELECT 1/0;"}, **options)
    await require_no_trace(db)
    assert await db.fetch_value("SELECT event FROM app.pgdbm_journal") == "failed"


@pytest.mark.usefixtures("role")
@pytest.mark.parametrize("left", LEFT_BEHIND)
async def test_files_in_one_transaction_leave_nothing_behind(
    db: AsyncDatabaseManager, options: dict[str, Any], left: str
) -> None:
    files = {"1.sql": left, "2.sql": f"{left} SELECT 2;", "3.sql": "CREATE TABLE created ();"}
    manager = AsyncMigrationManager(db, files, "m", **options)
    assert len((await manager.apply_pending_migrations(atomic="all"))["applied"]) == 3
    assert await db.table_exists("app.created")
    await require_no_trace(db)


async def test_a_temporary_table_does_not_shadow_another_modules(database: str) -> None:
    config = DatabaseConfig(
        connection_string=database, min_connections=1, max_connections=1, shared_pool_search_path="public"
    )
    pool = await AsyncDatabaseManager.create_shared_pool(config)
    a, b = (AsyncDatabaseManager(pool=pool, schema=name) for name in ("a", "b"))
    first, second = "CREATE TABLE users (id int);", "INSERT INTO users VALUES (1);"
    await apply(b, {"001.sql": first})
    await apply(a, {"001.sql": "CREATE TEMP TABLE users AS SELECT 1 AS id; CREATE TABLE {{tables.t}} ();"})
    await apply(b, {"001.sql": first, "002.sql": second})
    assert await b.fetch_value("SELECT count(*) FROM public.users") == 1
    await pool.close()


async def test_a_client_encoding_does_not_garble_the_file(db: AsyncDatabaseManager, options: dict[str, Any]) -> None:
    text = "SET client_encoding = 'LATIN1'; CREATE TABLE t (v text); INSERT INTO t VALUES ('Zoë'), ('Überweisung');"
    await apply(
        db, {"1.sql": text, "2.sql": NO_TRANSACTION + text.replace("TABLE t", "TABLE u").replace("INTO t", "INTO u")}
    )
    expected = [{"v": "Zoë"}, {"v": "Überweisung"}]
    assert await db.fetch_all("SELECT v FROM app.t") == expected
    assert await db.fetch_all("SELECT v FROM app.u") == expected
    await apply(
        db, {"1.sql": text.replace("TABLE t", "TABLE w").replace("INTO t", "INTO w")}, module="other", **options
    )
    assert await db.fetch_all("SELECT v FROM app.w") == expected


@pytest.mark.parametrize("level", ["SERIALIZABLE", "REPEATABLE READ", "SERIALIZABLE, READ WRITE, DEFERRABLE"])
async def test_a_file_chooses_its_isolation_level(
    db: AsyncDatabaseManager, options: dict[str, Any], level: str
) -> None:
    seen = "current_setting('transaction_isolation') AS level"
    files = {
        "1.sql": f"-- first\nSET TRANSACTION ISOLATION LEVEL {level};\nCREATE TABLE z AS SELECT {seen};",
        "2.sql": f"CREATE TABLE y AS SELECT {seen};",
    }
    await apply(db, files, **options)
    assert await db.fetch_value("SELECT level FROM app.z") == level.split(",")[0].lower()
    assert await db.fetch_value("SELECT level FROM app.y") == "read committed"


async def test_times_are_utc_whatever_the_time_zone_is(db: AsyncDatabaseManager, options: dict[str, Any]) -> None:
    name = await db.fetch_value("SELECT quote_ident(current_database())")
    await db.execute(f"ALTER DATABASE {name} SET timezone = 'America/Los_Angeles'")
    files = {
        "1.sql": "CREATE TABLE t ();",
        "2.sql": "SET TIME ZONE 'Asia/Tokyo'; SELECT 2;",
        "3.sql": NO_TRANSACTION + "SET TIME ZONE 'Asia/Tokyo'; SELECT 3;",
    }
    migrations = AsyncMigrationManager(db, files, "m", **options)
    await migrations.apply_pending_migrations()
    now = await db.fetch_value("SELECT clock_timestamp()")
    for row in await migrations.history():
        assert abs((now - row.applied_at).total_seconds()) < 60
    await db.execute("SET TIME ZONE 'Asia/Tokyo'")
    assert all(abs((now - one.applied_at).total_seconds()) < 60 for one in (await migrations.status()).migrations)
    assert (await migrations.drift()).clean


async def test_without_plpgsql(db: AsyncDatabaseManager, options: dict[str, Any]) -> None:
    await db.execute("DROP EXTENSION plpgsql")
    await apply(db, {"1.sql": "SET search_path TO pg_catalog;", "2.sql": NO_TRANSACTION + "SELECT 2;"}, **options)
    with pytest.raises(pgdbm.MigrationExecutionError, match="division by zero"):
        await apply(db, {"3.sql": "SET search_path TO pg_catalog; SELECT 1/0;"}, module="n", **options)
    await require_no_trace(db)


async def test_deallocate_all_does_not_break_pgdbms_statements(db: AsyncDatabaseManager) -> None:
    files = {"1.sql": "CREATE TABLE t (id int);"}
    await apply(db, files)
    files["2.sql"] = NO_TRANSACTION + "INSERT INTO t VALUES (1);\nDEALLOCATE ALL;\nINSERT INTO t VALUES (2);"
    files["3.sql"] = "DEALLOCATE ALL; DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$;"
    for _ in range(2):
        await apply(db, files)
    assert await db.fetch_value("SELECT count(*) FROM app.t") == 2


@pytest.mark.parametrize("head", ["", NO_TRANSACTION])
async def test_discard_all_is_refused_before_anything_runs(db: AsyncDatabaseManager, head: str) -> None:
    with pytest.raises(pgdbm.MigrationFileError, match="DISCARD ALL would release the lock"):
        await apply(db, {"1.sql": "CREATE TABLE t ();", "2.sql": head + "SELECT 1;\nDISCARD ALL;"})
    assert not await db.table_exists("app.t")


async def test_a_file_that_releases_all_locks_keeps_ours(db: AsyncDatabaseManager, connect: Callable[[], Any]) -> None:
    text = (
        "SELECT pg_advisory_unlock_all();\n"
        "CREATE TABLE held AS SELECT count(*) AS locks FROM pg_locks WHERE locktype = 'advisory';"
    )
    await apply(db, {"1.sql": NO_TRANSACTION + text})
    assert await db.fetch_value("SELECT locks FROM app.held") == 1
    async with connect() as connection:
        assert await connection.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0


class TestResuming:
    """The settings of the applied statements of a file without a transaction are restored, or the file is refused."""

    INDEX = "CREATE UNIQUE INDEX CONCURRENTLY invoices_no ON invoices (no);"

    @pytest.mark.parametrize(
        "settings",
        [
            "SET search_path = billing;",
            "SELECT set_config('search_path', 'billing', false);",
            "DO $$ BEGIN EXECUTE 'SET search_path TO billing'; END $$;",
            "SET search_path = nowhere; DO $$ BEGIN SET search_path TO billing; END $$;",
            "SET app.tenant = 'x'; SET ROLE test_app_owner; SET search_path = billing; RESET ROLE;",
        ],
    )
    @pytest.mark.usefixtures("role")
    async def test_settings_are_restored(self, db: AsyncDatabaseManager, settings: str) -> None:
        files = {
            "1.sql": "CREATE SCHEMA billing; CREATE TABLE billing.invoices (id int, no text); "
            "CREATE TABLE invoices (id int, no text); INSERT INTO billing.invoices VALUES (1, 'x'), (2, 'x');",
            "2.sql": f"{NO_TRANSACTION}{settings}\n{self.INDEX}",
        }
        with pytest.raises(pgdbm.MigrationExecutionError, match="could not create unique index"):
            await apply(db, files)
        await db.execute("DELETE FROM billing.invoices WHERE id = 2")
        await apply(db, files)
        assert await db.fetch_all(
            "SELECT indrelid::regclass::text AS table, indisvalid AS valid FROM pg_index"
            " WHERE indexrelid::regclass::text LIKE '%invoices_no'"
        ) == [{"table": "billing.invoices", "valid": True}]

    @pytest.mark.usefixtures("role")
    async def test_a_role_is_restored(self, db: AsyncDatabaseManager) -> None:
        files = {
            "1.sql": f"{NO_TRANSACTION}SET ROLE test_app_owner;\nSELECT 1/(SELECT count(*) FROM public.go);\n"
            "CREATE TABLE created ();"
        }
        await db.execute("CREATE TABLE public.go (); GRANT SELECT ON public.go TO PUBLIC")
        with pytest.raises(pgdbm.MigrationExecutionError, match="division by zero"):
            await apply(db, files)
        await db.execute("INSERT INTO public.go DEFAULT VALUES")
        await apply(db, files)
        assert await db.fetch_value("SELECT tableowner FROM pg_tables WHERE tablename = 'created'") == "test_app_owner"

    @pytest.mark.parametrize(
        ("start", "named"),
        [
            ("CREATE TEMP TABLE keep AS SELECT DISTINCT id FROM t;", "the temporary relation keep"),
            ("DO $$ BEGIN CREATE TEMP TABLE keep AS SELECT DISTINCT id FROM t; END $$;", "the temporary relation keep"),
            ("PREPARE keep AS SELECT 1;", "the prepared statement keep"),
        ],
    )
    async def test_what_ended_with_the_session_is_refused(
        self, db: AsyncDatabaseManager, start: str, named: str
    ) -> None:
        files = {
            "1.sql": "CREATE TABLE t (id int); INSERT INTO t VALUES (1), (1);",
            "2.sql": f"{NO_TRANSACTION}{start}\nCREATE UNIQUE INDEX CONCURRENTLY t_id ON t (id);\nSELECT 1;",
        }
        with pytest.raises(pgdbm.MigrationExecutionError, match="could not create unique index"):
            await apply(db, files)
        await db.execute("DELETE FROM app.t WHERE ctid = (SELECT min(ctid) FROM app.t)")
        with pytest.raises(pgdbm.MigrationError, match=named):
            await apply(db, files)

    async def test_one_that_was_dropped_is_not_missed(self, db: AsyncDatabaseManager) -> None:
        files = {
            "1.sql": f"{NO_TRANSACTION}CREATE TEMP TABLE keep ();\nDROP TABLE keep;\nSET search_path = app;\n"
            "SELECT 1/(SELECT count(*) FROM public.go);\nCREATE TABLE created ();"
        }
        await db.execute("CREATE TABLE public.go ()")
        with pytest.raises(pgdbm.MigrationExecutionError, match="division by zero"):
            await apply(db, files)
        await db.execute("INSERT INTO public.go DEFAULT VALUES")
        await apply(db, files)
        assert await db.table_exists("app.created")


class TestBlocks:
    """BEGIN … COMMIT in a file without a transaction."""

    FILES: ClassVar = {
        "1.sql": "CREATE TABLE t (id int);",
        "2.sql": f"{NO_TRANSACTION}BEGIN;\nINSERT INTO t VALUES (1);\n"
        "INSERT INTO t VALUES ((SELECT count(*) FROM missing));\nCOMMIT;\nCREATE INDEX CONCURRENTLY t_id ON t (id);",
    }

    async def test_a_block_is_applied_whole_or_not_at_all(self, db: AsyncDatabaseManager) -> None:
        with pytest.raises(pgdbm.MigrationExecutionError) as caught:
            await apply(db, self.FILES)
        assert (caught.value.statement, caught.value.line) == (3, 4)
        assert "remain applied" not in str(caught.value)
        assert await db.fetch_value("SELECT count(*) FROM app.t") == 0
        await db.execute("CREATE TABLE app.missing ()")
        assert [one["filename"] for one in (await apply(db, self.FILES))["applied"]] == ["2.sql"]
        assert await db.fetch_value("SELECT count(*) FROM app.t") == 2

    @pytest.mark.parametrize("end", ["ROLLBACK;", "END;", "COMMIT AND NO CHAIN;"])
    async def test_a_block_may_end_with_end(self, db: AsyncDatabaseManager, end: str) -> None:
        await apply(db, {"1.sql": f"{NO_TRANSACTION}BEGIN;\nCREATE TABLE created ();\n{end}\nVACUUM;"})
        assert await db.table_exists("app.created") == (end != "ROLLBACK;")

    async def test_a_block_without_an_end_is_refused(self, db: AsyncDatabaseManager) -> None:
        with pytest.raises(pgdbm.MigrationFileError, match=r"1\.sql:3:1: statement 2 begins a transaction"):
            await apply(db, {"1.sql": f"{NO_TRANSACTION}CREATE TABLE created ();\nBEGIN;\nSELECT 1;"})
        assert not await db.table_exists("app.created")


class TestOutsideOfTransactions:
    """Statements that psql runs outside a transaction block."""

    PARTITIONED = "CREATE TABLE p (id int) PARTITION BY RANGE (id); CREATE INDEX p_id ON p (id);"

    async def test_reindex_of_a_partitioned_table(self, db: AsyncDatabaseManager) -> None:
        files = {"1.sql": self.PARTITIONED, "2.sql": NO_TRANSACTION + "REINDEX TABLE p;\nREINDEX INDEX p_id;"}
        assert len((await apply(db, files))["applied"]) == 2

    async def test_the_marker_is_named_where_it_is_missing(
        self, db: AsyncDatabaseManager, options: dict[str, Any]
    ) -> None:
        with pytest.raises(pgdbm.MigrationExecutionError, match="-- pgdbm:no-transaction"):
            await apply(db, {"1.sql": self.PARTITIONED, "2.sql": "REINDEX TABLE p;"}, **options)

    @pytest.mark.parametrize("call", ["CALL pr();", "DO $$ BEGIN COMMIT; END $$;"])
    async def test_a_procedure_that_commits(self, db: AsyncDatabaseManager, options: dict[str, Any], call: str) -> None:
        files = {"1.sql": "CREATE PROCEDURE pr() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$;", "2.sql": call}
        with pytest.raises(pgdbm.MigrationExecutionError, match="-- pgdbm:no-transaction") as caught:
            await apply(db, files, **options)
        assert caught.value.sqlstate == "2D000"
        files["2.sql"] = NO_TRANSACTION + call
        assert len((await apply(db, files, **options))["applied"]) == 1


async def test_a_serializable_database(database: str) -> None:
    import asyncio

    config = DatabaseConfig(connection_string=database, min_connections=1, max_connections=8)
    pool = await AsyncDatabaseManager.create_shared_pool(config)
    db = AsyncDatabaseManager(pool=pool, schema="app")
    name = await db.fetch_value("SELECT quote_ident(current_database())")
    await db.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")
    await pool.close()
    pool = await AsyncDatabaseManager.create_shared_pool(config)
    managers = [
        AsyncMigrationManager(
            AsyncDatabaseManager(pool=pool, schema="app"),
            {
                f"{n:02}.sql": f"CREATE TABLE {{{{tables.{module}_{n}}}}} (id int); "
                f"UPDATE {{{{tables.{module}_{n}}}}} SET id = 1;"
                for n in range(12)
            },
            module,
        )
        for module in ("m1", "m2", "m3", "m4")
    ]
    results = await asyncio.gather(*(manager.apply_pending_migrations() for manager in [*managers, *managers]))
    assert sum(len(result["applied"]) for result in results) == 48
    await pool.close()


async def test_transaction_timeout_does_not_end_a_file_without_a_transaction(database: str) -> None:
    connection = await asyncpg.connect(database)
    if connection.get_server_version().major < 17:
        await connection.close()
        pytest.skip("PostgreSQL 17 introduced transaction_timeout")
    name = await connection.fetchval("SELECT quote_ident(current_database())")
    await connection.execute(f"ALTER DATABASE {name} SET transaction_timeout = '300ms'")
    await connection.close()
    config = DatabaseConfig(connection_string=database, schema="app", min_connections=1, max_connections=1)
    async with AsyncDatabaseManager(config) as db:
        await apply(db, {"1.sql": NO_TRANSACTION + "DO $$ BEGIN PERFORM pg_sleep(0.6); END $$;\nSELECT pg_sleep(0.6);"})


async def test_idle_session_timeout_does_not_end_a_file_without_a_transaction(
    database: str, connect: Callable[[], Any]
) -> None:
    """The pause before a statement is retried may be longer."""
    async with connect() as connection:
        name = await connection.fetchval("SELECT quote_ident(current_database())")
        await connection.execute(f"ALTER DATABASE {name} SET idle_session_timeout = '30s'")
    config = DatabaseConfig(connection_string=database, schema="app", min_connections=1, max_connections=1)
    async with AsyncDatabaseManager(config) as db:
        seen = "CREATE TABLE {{tables.seen}} AS SELECT current_setting('idle_session_timeout') AS value;"
        await apply(db, {"1.sql": NO_TRANSACTION + seen})
        assert await db.fetch_value("SELECT value FROM {{tables.seen}}") == "0"
        assert await db.fetch_value("SHOW idle_session_timeout") == "30s"
