"""Statements of pgdbm itself execute nothing that a module's role or another user has planted."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import pytest

import pgdbm
from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, DatabaseConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

ROLE = "test_module_role"
NO_TRANSACTION = "-- pgdbm:no-transaction\n"
HOSTILE = (
    "CREATE TABLE m.calls (who text);"
    "CREATE FUNCTION m.note() RETURNS void LANGUAGE sql AS $$ INSERT INTO m.calls VALUES (current_user) $$;"
    "GRANT ALL ON m.calls TO PUBLIC;"
)


@pytest.fixture
async def db(database: str) -> AsyncIterator[AsyncDatabaseManager]:
    config = DatabaseConfig(connection_string=database, schema="m", min_connections=1, max_connections=3)
    manager = AsyncDatabaseManager(config)
    await manager.connect()
    await manager.execute(f"DROP ROLE IF EXISTS {ROLE}; CREATE ROLE {ROLE}; GRANT USAGE, CREATE ON SCHEMA m TO {ROLE}")
    yield manager
    await manager.execute(f"DROP OWNED BY {ROLE} CASCADE; DROP ROLE {ROLE}")
    await manager.close()


async def apply(db: AsyncDatabaseManager, files: dict[str, str], **options: Any) -> dict[str, Any]:
    options = {"role": ROLE} | options
    return await AsyncMigrationManager(db, files, "m", **options).apply_pending_migrations()


async def callers(db: AsyncDatabaseManager) -> set[str]:
    return {row["who"] for row in await db.fetch_all("SELECT who FROM m.calls")}


PLANTED = {
    "an operator for the execution time": (
        "CREATE FUNCTION m.evil(integer, numeric) RETURNS numeric LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM m.note(); RETURN 1; END $$;"
        "CREATE OPERATOR m.* (leftarg = integer, rightarg = numeric, function = m.evil);"
        "SET LOCAL search_path = m, pg_catalog;"
    ),
    "an operator for names": (
        "CREATE FUNCTION m.same(varchar, varchar) RETURNS boolean LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM m.note(); RETURN false; END $$;"
        "CREATE OPERATOR m.= (leftarg = varchar, rightarg = varchar, function = m.same);"
        "SET search_path = m, pg_catalog;"
    ),
    "a temporary type": (
        "CREATE FUNCTION m.ev(varchar) RETURNS boolean LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM m.note(); RETURN true; END $$;"
        "CREATE DOMAIN pg_temp.text AS varchar CHECK (m.ev(VALUE));"
    ),
    "a function of PostgreSQL's": (
        "CREATE FUNCTION m.pg_advisory_unlock_all() RETURNS void LANGUAGE sql AS $$ SELECT m.note() $$;"
        "SET search_path = m, pg_catalog;"
    ),
    "a cursor that is read at the commit": "DECLARE c CURSOR WITH HOLD FOR SELECT m.note() FROM generate_series(1, 9);",
    "a deferred trigger": (
        "CREATE TABLE m.t (a int);"
        "CREATE FUNCTION m.tr() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM m.note(); RETURN NULL; END $$;"
        "CREATE CONSTRAINT TRIGGER tr AFTER INSERT ON m.t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"
        " EXECUTE FUNCTION m.tr(); INSERT INTO m.t VALUES (1);"
    ),
}


@pytest.mark.parametrize("planted", PLANTED)
@pytest.mark.parametrize("way", ["batched", "by statement", "all", "no transaction"])
async def test_code_planted_by_a_role_is_not_called(db: AsyncDatabaseManager, planted: str, way: str) -> None:
    head = NO_TRANSACTION if way == "no transaction" else ""
    text = PLANTED[planted]
    if head:
        text = text.replace("SET LOCAL", "SET")
    files = {
        "1.sql": HOSTILE,
        "2.sql": head + text,
        "3.sql": f"{head}CREATE TABLE m.other (x pg_catalog.text);",
        "4.sql": "SELECT 1/0;",
    }
    options: dict[str, Any] = {"on_event": lambda _: None} if way == "by statement" else {}
    if way == "all":
        del files["4.sql"]
        await AsyncMigrationManager(db, files, "m", role=ROLE).apply_pending_migrations(atomic="all")
    else:
        with pytest.raises(pgdbm.MigrationExecutionError, match="division by zero"):
            await apply(db, files, **options)
    assert await callers(db) <= {ROLE}
    await AsyncMigrationManager(db, files, "m", role=ROLE).status()
    assert await callers(db) <= {ROLE}


@pytest.mark.parametrize("planted", PLANTED)
@pytest.mark.parametrize("head", ["", NO_TRANSACTION])
async def test_code_planted_by_a_role_is_not_called_by_a_revert_or_a_rehearsal(
    db: AsyncDatabaseManager, planted: str, head: str
) -> None:
    text = PLANTED[planted].replace("SET LOCAL", "SET") if head else PLANTED[planted]
    files = {"1.sql": HOSTILE, "2.sql": "SELECT 2;", "2.down.sql": head + text}
    manager = AsyncMigrationManager(db, files, "m", role=ROLE)
    await manager.apply_pending_migrations()
    await manager.revert()
    assert await callers(db) <= {ROLE}
    files = {"1.sql": HOSTILE, "3.sql": head + text, "4.sql": "SELECT 4;"}
    rehearsed = AsyncMigrationManager(db, files, "m", role=ROLE)
    await rehearsed.rehearse()
    assert await callers(db) <= {ROLE}


async def test_a_rehearsal_that_commits_nothing_keeps_the_search_path(db: AsyncDatabaseManager) -> None:
    await db.execute("CREATE SCHEMA other; CREATE TYPE other.mood AS ENUM ('sad')")
    files = {
        "1.sql": "COMMENT ON TYPE other.mood IS 'beyond';",
        "2.sql": "CREATE TABLE first ();",
        "3.sql": "CREATE TABLE second (LIKE first);",
    }
    rehearsal = await AsyncMigrationManager(db, files, "m").rehearse()
    assert (rehearsal.succeeded, rehearsal.kept_open_since) == (True, "1.sql")


async def test_a_rehearsal_cleans_the_session_after_each_file(db: AsyncDatabaseManager) -> None:
    files = {
        "1.sql": "CREATE TEMP TABLE scratch (a int);",
        "2.sql": "CREATE TEMP TABLE scratch (b text); DO $$ BEGIN SET search_path TO pg_catalog; END $$;",
        "3.sql": "CREATE TABLE created ();",
    }
    assert (await AsyncMigrationManager(db, files, "m").rehearse()).succeeded


@pytest.mark.parametrize("table", ["pgdbm_journal", "pgdbm_snapshots"])
async def test_tables_that_a_role_has_made_are_not_written(db: AsyncDatabaseManager, table: str) -> None:
    columns = {
        "pgdbm_journal": "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, module text, filename text,"
        " statement int, event text, statement_hash text, attempt int, sqlstate text, message text,"
        " session_state jsonb, started_at timestamptz, ended_at timestamptz, started_by text, pid int",
        "pgdbm_snapshots": "is_newest boolean PRIMARY KEY DEFAULT true, taken_at timestamptz, module text, format int,"
        " server_version int, fingerprint text, excluded text[], listing bytea",
    }[table]
    plant = (
        f"CREATE TABLE m.{table} ({columns}); GRANT ALL ON m.{table} TO PUBLIC;"
        "CREATE FUNCTION m.tr() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM m.note(); RETURN NEW; END $$;"
        f"CREATE TRIGGER tr BEFORE INSERT OR UPDATE ON m.{table} FOR EACH ROW EXECUTE FUNCTION m.tr();"
    )
    files = {"1.sql": HOSTILE, "2.sql": plant}
    # The first run created the table of snapshots.
    await apply(db, {"1.sql": HOSTILE}, snapshots=False)
    await apply(db, files, snapshots=table == "pgdbm_snapshots")
    with pytest.raises(pgdbm.MigrationError):
        await apply(db, files | {"3.sql": "SELECT 1/0;"})
    with pytest.raises(pgdbm.MigrationError):
        await apply(db, files | {"3.sql": f"{NO_TRANSACTION}SELECT 1/0;"})
    assert await callers(db) <= {ROLE}


async def test_a_history_that_a_role_has_made_is_not_written(db: AsyncDatabaseManager) -> None:
    await db.execute(f"ALTER SCHEMA m OWNER TO {ROLE}")
    replace = (
        "DROP TABLE m.schema_migrations;"
        "CREATE TABLE m.schema_migrations (id serial, filename text, checksum text, module_name text,"
        " applied_at timestamp, applied_by text, execution_time_ms int, UNIQUE (filename, module_name));"
        "GRANT ALL ON m.schema_migrations TO PUBLIC;"
        "CREATE FUNCTION m.tr() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM m.note(); RETURN NEW; END $$;"
        "CREATE TRIGGER tr BEFORE INSERT ON m.schema_migrations FOR EACH ROW EXECUTE FUNCTION m.tr();"
    )
    await apply(db, {"1.sql": HOSTILE})
    for head in ("", NO_TRANSACTION):
        with pytest.raises(pgdbm.MigrationError, match="plain table of the connecting user"):
            await apply(db, {"1.sql": HOSTILE, "2.sql": head + replace})
    assert await callers(db) <= {ROLE}


async def test_a_role_is_not_let_into_a_schema_that_was_there(db: AsyncDatabaseManager) -> None:
    await db.execute("CREATE SCHEMA other_team")
    other = AsyncDatabaseManager(pool=db.pool, schema="other_team")
    with pytest.raises(pgdbm.MigrationError, match=f'GRANT USAGE, CREATE ON SCHEMA "other_team" TO "{ROLE}"'):
        await apply(other, {"1.sql": "SELECT 1;"})
    assert not await db.fetch_value(f"SELECT has_schema_privilege('{ROLE}', 'other_team', 'CREATE')")
    new = AsyncDatabaseManager(pool=db.pool, schema="new")
    assert (await apply(new, {"1.sql": "CREATE TABLE {{tables.t}} ();"}))["status"] == "success"


@pytest.mark.parametrize("trap", ["policy", "view"])
async def test_a_planted_history_runs_no_code_as_the_connecting_user(
    database: str, connect: Callable[[], Any], trap: str
) -> None:
    """A table with a policy, or a view, of another user: reading it would call the function as the connecting user."""
    name = f"untrusted_{time.monotonic_ns()}"
    async with connect() as connection:
        await connection.execute(
            f"CREATE ROLE {name} LOGIN PASSWORD 'x'; CREATE SCHEMA st AUTHORIZATION {name};"
            "CREATE TABLE public.calls (who text); GRANT ALL ON public.calls TO PUBLIC;"
            f"SET ROLE {name};"
            "CREATE FUNCTION st.pf() RETURNS boolean LANGUAGE plpgsql SECURITY INVOKER AS"
            " $$ BEGIN INSERT INTO public.calls VALUES (current_user); RETURN true; END $$;"
            "GRANT USAGE ON SCHEMA st TO PUBLIC;"
        )
        columns = (
            "1 AS id, 'f'::text AS filename, 'c'::text AS checksum, 'm'::text AS module_name,"
            " now()::timestamp AS applied_at, 'x'::text AS applied_by, 1 AS execution_time_ms"
        )
        if trap == "view":
            await connection.execute(f"CREATE VIEW st.schema_migrations AS SELECT {columns} WHERE st.pf();")
        else:
            await connection.execute(
                f"CREATE TABLE st.schema_migrations AS SELECT {columns};"
                "CREATE POLICY p ON st.schema_migrations USING (st.pf());"
                "ALTER TABLE st.schema_migrations ENABLE ROW LEVEL SECURITY;"
            )
        await connection.execute("GRANT ALL ON st.schema_migrations TO PUBLIC; RESET ROLE")
        victim = f"victim_{time.monotonic_ns()}"
        await connection.execute(f"CREATE ROLE {victim} LOGIN PASSWORD 'x'")
        parts = urlsplit(database)
        dsn = urlunsplit(parts._replace(netloc=f"{victim}:x@{parts.netloc.rpartition('@')[2]}"))
        config = DatabaseConfig(connection_string=dsn, min_connections=1, max_connections=1)
        pool = await AsyncDatabaseManager.create_shared_pool(config)
        manager = AsyncMigrationManager(AsyncDatabaseManager(pool=pool, schema="st"), {"1.sql": "SELECT 1"}, "m")
        reads: list[Callable[[], Awaitable[object]]] = [
            manager.status,
            manager.get_pending_migrations,
            manager.history,
            manager.get_migration_history,
        ]
        for read in reads:
            with pytest.raises(pgdbm.MigrationError, match="was not read"):
                await read()
        await pool.close()
        assert await connection.fetchval("SELECT count(*) FROM public.calls") == 0
        await connection.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")
        await connection.execute(f"DROP OWNED BY {victim} CASCADE; DROP ROLE {victim}")


async def test_operators_in_public_are_not_called(database: str, connect: Callable[[], Any]) -> None:
    """The search_path of a manager's own pool ends with public, where every role may create objects on old servers."""
    async with connect() as connection:
        await connection.execute(
            "CREATE TABLE public.calls (what text);"
            "CREATE FUNCTION public.note(text) RETURNS void LANGUAGE sql AS $$ INSERT INTO public.calls VALUES ($1) $$;"
            "CREATE FUNCTION public.eq(varchar, varchar) RETURNS boolean LANGUAGE plpgsql AS"
            " $$ BEGIN PERFORM public.note('='); RETURN $1::text = $2::text; END $$;"
            "CREATE OPERATOR public.= (leftarg = varchar, rightarg = varchar, function = public.eq);"
            "CREATE FUNCTION public.eq(varchar, text) RETURNS boolean LANGUAGE plpgsql AS"
            " $$ BEGIN PERFORM public.note('='); RETURN $1::text = $2; END $$;"
            "CREATE OPERATOR public.= (leftarg = varchar, rightarg = text, function = public.eq);"
            "CREATE FUNCTION public.mul(integer, numeric) RETURNS numeric LANGUAGE plpgsql AS"
            " $$ BEGIN PERFORM public.note('*'); RETURN $2; END $$;"
            "CREATE OPERATOR public.* (leftarg = integer, rightarg = numeric, function = public.mul);"
            "CREATE FUNCTION public.unnest(integer[]) RETURNS SETOF integer LANGUAGE plpgsql AS"
            " $$ BEGIN PERFORM public.note('unnest'); END $$;"
        )
        config = DatabaseConfig(connection_string=database, schema="app", min_connections=1, max_connections=3)
        async with AsyncDatabaseManager(config) as db:
            files = {
                "1.sql": "CREATE TABLE t ();",
                "2.sql": f"{NO_TRANSACTION}CREATE TABLE u ();",
                "R__r.sql": "SELECT 1",
            }
            for events in (None, lambda _: None):
                manager = AsyncMigrationManager(db, files, "m", on_event=events)
                await manager.apply_pending_migrations()
                await manager.status()
                await manager.history()
                await manager.journal()
                await manager.drift()
                files["1b.sql"] = "SELECT pg_sleep(1.2)"
            await manager.mark("2.sql", applied=False)
            await manager.mark("2.sql", applied=True)
            await manager.rollback_migration("R__r.sql")
        assert await connection.fetch("SELECT * FROM public.calls") == []


async def test_a_file_that_cannot_be_read_is_reported_while_the_history_is_locked(
    db: AsyncDatabaseManager, connect: Callable[[], Any]
) -> None:
    files = {"1.sql": "CREATE TABLE m.t ();"}
    await apply(db, files, role=None)
    async with connect() as other, asyncio.timeout(20):
        await other.execute("BEGIN; LOCK TABLE m.schema_migrations")
        for _ in range(20):
            with pytest.raises(pgdbm.MigrationError, match="empty"):
                await apply(db, {"1.sql": " "}, role=None)
        await other.execute("ROLLBACK")
        # The connections that waited for the history are free again.
        assert (await apply(db, files, role=None))["status"] == "up_to_date"


async def test_a_locked_history_is_waited_for(db: AsyncDatabaseManager, connect: Callable[[], Any]) -> None:
    await apply(db, {"1.sql": "CREATE TABLE m.t ();"}, role=None)
    events: list[Any] = []

    async def lock(seconds: float) -> None:
        async with connect() as connection, connection.transaction():
            await connection.execute("LOCK TABLE m.schema_migrations IN ACCESS EXCLUSIVE MODE")
            locked.set()
            await asyncio.sleep(seconds)

    await db.execute("SET lock_timeout = 0")
    name = await db.fetch_value("SELECT quote_ident(current_database())")
    await db.execute(f"ALTER DATABASE {name} SET lock_timeout = '200ms'")
    config = DatabaseConfig(
        connection_string=db.config.get_dsn(), schema="m", min_connections=1, max_connections=3, lock_timeout_ms=None
    )
    async with AsyncDatabaseManager(config) as with_timeout:
        for seconds, limit in ((1.5, 600.0), (4.0, 0.5)):
            locked = asyncio.Event()
            locking = asyncio.create_task(lock(seconds))
            await locked.wait()
            files = {"1.sql": "CREATE TABLE m.t ();", f"{limit}.sql": f"SELECT {limit};"}
            applying = apply(
                with_timeout, files, role=None, on_event=events.append, lock_wait_timeout=limit, lock_timeout=0.2
            )
            if limit == 600:
                assert (await applying)["status"] == "success"
                assert any(event.kind == "waiting_for_runner" for event in events)
            else:
                with pytest.raises(pgdbm.MigrationLockTimeoutError, match="history table") as caught:
                    await applying
                assert caught.value.holder is not None
                assert caught.value.holder["pid"]
            await locking


async def test_an_audit_of_statements_sees_one_file_at_a_time(database: str, connect: Callable[[], Any]) -> None:
    async with connect() as connection:
        await connection.execute(
            "CREATE TABLE public.ddl_log (tag text, q text);"
            "CREATE FUNCTION public.log_ddl() RETURNS event_trigger LANGUAGE plpgsql AS"
            " $$ BEGIN INSERT INTO public.ddl_log VALUES (tg_tag, current_query()); END $$;"
            "CREATE EVENT TRIGGER log_ddl ON ddl_command_end EXECUTE FUNCTION public.log_ddl();"
        )
        config = DatabaseConfig(connection_string=database, schema="app", min_connections=1, max_connections=3)
        async with AsyncDatabaseManager(config) as db:
            files = {f"{n:02}.sql": f"CREATE TABLE audited_{n:02} ();" for n in range(1, 31)}
            await apply(db, files, role=None)
        rows = await connection.fetch("SELECT q FROM public.ddl_log WHERE q LIKE '%audited%'")
        assert len(rows) == 30
        assert all(row["q"].count("audited_") == 1 for row in rows)
        await connection.execute("DROP EVENT TRIGGER log_ddl")


async def test_a_trigger_that_audits_sees_one_file_at_a_time(db: AsyncDatabaseManager) -> None:
    first = (
        "CREATE TABLE m.t (a int); CREATE TABLE m.log (q text);"
        "CREATE FUNCTION m.audit() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO m.log VALUES (current_query()); RETURN NEW; END $$;"
        "CREATE TRIGGER audit AFTER INSERT ON m.t FOR EACH ROW EXECUTE FUNCTION m.audit();"
    )
    files = {"00.sql": first} | {f"{n:02}.sql": f"INSERT INTO m.t VALUES ({n});" for n in range(1, 6)}
    await apply(db, {"00.sql": first}, role=None)
    await apply(db, files, role=None)
    assert all(row["q"].count("INSERT INTO m.t") == 1 for row in await db.fetch_all("SELECT q FROM m.log"))


async def test_a_history_and_a_journal_without_end(db: AsyncDatabaseManager) -> None:
    """A file can write what it likes into them: reading them takes no more memory than real ones do."""
    files = {"1.sql": "SELECT 1", "2.sql": "SELECT 1/0"}
    manager = AsyncMigrationManager(db, files, "m")
    with pytest.raises(pgdbm.MigrationExecutionError):
        await manager.apply_pending_migrations()
    await db.execute("ALTER TABLE {{tables.schema_migrations}} ALTER filename TYPE text, ALTER checksum TYPE text")
    await db.execute("UPDATE {{tables.schema_migrations}} SET checksum = checksum || repeat('x', 1000000)")
    await db.execute("UPDATE {{tables.pgdbm_journal}} SET message = repeat('x', 1000000)")
    (row,) = await manager.history()
    assert len(row.checksum) == 64
    assert [len(entry.message or "") for entry in await manager.journal()] == [10_000]
    assert (await manager.status()).applied == 1
    await db.execute(
        "INSERT INTO {{tables.schema_migrations}} (filename, checksum, module_name) "
        "SELECT n::text, 'x', 'm' FROM generate_series(1, 250000) n",
        timeout=60,
    )
    for read in (manager.status, manager.get_pending_migrations, manager.apply_pending_migrations):
        with pytest.raises(pgdbm.MigrationError, match="more than 200,000 rows of module 'm'"):
            await read()
    assert len(await manager.history(limit=5)) == 5
