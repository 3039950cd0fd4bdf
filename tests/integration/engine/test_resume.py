"""Files without a transaction resume at the statement where they stopped."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import pgdbm
from pgdbm import AsyncDatabaseManager, AsyncMigrationManager
from pgdbm.errors import MigrationExecutionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    import asyncpg

    Connect = Callable[[], AbstractAsyncContextManager[asyncpg.Connection[Any]]]

HEAD = "-- pgdbm:no-transaction\n"
TABLE = {"1_t.sql": "CREATE TABLE {{tables.t}} AS SELECT i AS id, i % 5 AS kind FROM generate_series(1, 500) i"}


def manager(db: AsyncDatabaseManager, files: Mapping[str, str], **options: Any) -> AsyncMigrationManager:
    return AsyncMigrationManager(db, {**TABLE, **files}, "m", **options)


async def started_by_a_dead_runner(db: AsyncDatabaseManager, filename: str, statement: int, text: str) -> None:
    """What a runner that died during a statement leaves in the journal."""
    from pgdbm.migrations.state.journal import Journal, hash_of

    async with db.acquire() as connection:
        journal = Journal("app", "m")
        await journal.create(connection)
        await journal.begin(connection, filename, statement, hash_of(text), 1)


async def test_the_next_run_continues_at_the_failed_statement(db: AsyncDatabaseManager) -> None:
    start = HEAD + "CREATE TABLE {{tables.once}} ();\nVACUUM {{tables.t}};\n"
    with pytest.raises(pgdbm.MigrationExecutionError, match="resumes at statement 3") as caught:
        await manager(db, {"2.sql": start + "SELECT 1/0;"}).apply_pending_migrations()
    assert caught.value.statement == 3
    result = await manager(db, {"2.sql": start + "CREATE TABLE {{tables.then}} ();"}).apply_pending_migrations()
    assert [one["filename"] for one in result["applied"]] == ["2.sql"]
    assert await db.table_exists("then")


async def test_changed_finished_statements_are_refused(db: AsyncDatabaseManager) -> None:
    with pytest.raises(pgdbm.MigrationExecutionError):
        await manager(db, {"2.sql": HEAD + "CREATE TABLE {{tables.once}} ();\nSELECT 1/0"}).apply_pending_migrations()
    with pytest.raises(pgdbm.MigrationError, match="statement 1 was applied by an earlier run"):
        await manager(db, {"2.sql": HEAD + "CREATE TABLE {{tables.other}} ();\nSELECT 1"}).apply_pending_migrations()


async def test_an_invalid_index_of_the_same_statement_is_rebuilt(db: AsyncDatabaseManager) -> None:
    unique = {"2.sql": HEAD + "CREATE UNIQUE INDEX CONCURRENTLY t_kind ON {{tables.t}} (kind)"}
    with pytest.raises(pgdbm.MigrationExecutionError) as caught:
        await manager(db, unique).apply_pending_migrations()
    assert caught.value.sqlstate == "23505"
    invalid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'app.t_kind'::regclass"
    assert await db.fetch_value(invalid) is False
    await db.execute("DELETE FROM {{tables.t}} WHERE id > 5")
    assert (await manager(db, unique).apply_pending_migrations())["status"] == "success"
    assert await db.fetch_value(invalid) is True


@pytest.mark.parametrize("options", ["", "IF NOT EXISTS "])
async def test_an_invalid_index_of_another_origin_is_reported(db: AsyncDatabaseManager, options: str) -> None:
    await manager(db, {}).apply_pending_migrations()
    with pytest.raises(pgdbm.QueryError):
        await db.execute("CREATE UNIQUE INDEX CONCURRENTLY t_kind ON {{tables.t}} (kind)")
    file = {"2.sql": HEAD + f"CREATE INDEX CONCURRENTLY {options}t_kind ON {{{{tables.t}}}} (kind)"}
    with pytest.raises(pgdbm.MigrationError, match=r"2\.sql:2:1: the index .* is INVALID, and this"):
        await manager(db, file).apply_pending_migrations()
    await db.execute("DROP INDEX app.t_kind")
    assert (await manager(db, file).apply_pending_migrations())["status"] == "success"


async def test_an_index_finished_after_its_runner_died_is_not_rebuilt(db: AsyncDatabaseManager) -> None:
    await manager(db, {}).apply_pending_migrations()
    text = 'CREATE INDEX CONCURRENTLY t_kind ON "app".t (kind)'
    await started_by_a_dead_runner(db, "2.sql", 1, text)
    await db.execute(text)
    before = await db.fetch_value("SELECT 'app.t_kind'::regclass::oid")
    file = {"2.sql": HEAD + "CREATE INDEX CONCURRENTLY t_kind ON {{tables.t}} (kind)"}
    assert (await manager(db, file).status()).state == "unknown"
    assert (await manager(db, file).apply_pending_migrations())["status"] == "success"
    assert await db.fetch_value("SELECT 'app.t_kind'::regclass::oid") == before


async def test_an_unknown_outcome_stays_unknown_until_it_is_resolved(db: AsyncDatabaseManager) -> None:
    await manager(db, {}).apply_pending_migrations()
    text = 'CREATE INDEX CONCURRENTLY ON "app".t (kind)'
    await started_by_a_dead_runner(db, "2.sql", 1, text)
    migrations = manager(db, {"2.sql": HEAD + "CREATE INDEX CONCURRENTLY ON {{tables.t}} (kind);\nVACUUM"})
    with pytest.raises(pgdbm.MigrationUnknownError, match=r"2\.sql:2:1: statement 1.*resolve_statement") as unknown:
        await migrations.apply_pending_migrations()
    assert (unknown.value.line, unknown.value.column) == (2, 1)
    await migrations.resolve_statement("2.sql", 1, done=True)
    assert (await migrations.apply_pending_migrations())["status"] == "success"
    assert await db.fetch_value("SELECT count(*) FROM pg_index WHERE indrelid = 'app.t'::regclass") == 0
    with pytest.raises(pgdbm.MigrationError, match="statement 1 is known"):
        await migrations.resolve_statement("2.sql", 1, done=True)


async def test_a_statement_that_fits_into_a_transaction_is_never_unknown(db: AsyncDatabaseManager) -> None:
    await manager(db, {}).apply_pending_migrations()
    await started_by_a_dead_runner(db, "2.sql", 1, 'INSERT INTO "app".t VALUES (0, 0)')
    files = {"2.sql": HEAD + "INSERT INTO {{tables.t}} VALUES (0, 0);\nVACUUM"}
    assert (await manager(db, files).apply_pending_migrations())["status"] == "success"
    assert await db.fetch_value("SELECT count(*) FROM {{tables.t}} WHERE id = 0") == 1


class TestDownMigration:
    """``2.down.sql``, whose third statement ends its own connection as long as the table fuse has a row."""

    FILES = {  # noqa: RUF012
        "2.sql": "CREATE TABLE {{tables.fuse}} AS SELECT 1 AS id;\nCREATE INDEX t_kind ON {{tables.t}} (kind);",
        "2.down.sql": HEAD
        + "INSERT INTO {{tables.t}} VALUES (0, 0);\n"
        + "DROP INDEX CONCURRENTLY {{tables.t_kind}};\n"
        + "SELECT pg_terminate_backend(pg_backend_pid()) FROM {{tables.fuse}};\n"
        + "DROP TABLE {{tables.fuse}};",
    }
    DONE_ONCE = "SELECT count(*) FROM {{tables.t}} WHERE id = 0"

    async def cut_off(self, db: AsyncDatabaseManager) -> AsyncMigrationManager:
        migrations = manager(db, self.FILES)
        await migrations.apply_pending_migrations()
        with pytest.raises(pgdbm.AsyncDBError):
            await migrations.revert()
        assert [row.filename for row in await migrations.history()] == ["2.sql", "1_t.sql"]
        await db.execute("DELETE FROM {{tables.fuse}}")
        return migrations

    async def test_a_revert_continues_where_its_runner_died(self, db: AsyncDatabaseManager) -> None:
        migrations = await self.cut_off(db)
        assert [one.filename for one in await migrations.revert()] == ["2.sql"]
        assert await db.fetch_value(self.DONE_ONCE) == 1
        assert not await db.table_exists("fuse")
        # The second time it starts at the first statement.
        assert (await migrations.apply_pending_migrations())["status"] == "success"
        await db.execute("DELETE FROM {{tables.fuse}}")
        await migrations.revert()
        assert await db.fetch_value(self.DONE_ONCE) == 2

    @pytest.mark.parametrize("forget", ["mark", "rollback_migration"])
    async def test_a_revert_restarts_after_the_file_was_applied_again(
        self, db: AsyncDatabaseManager, forget: str
    ) -> None:
        migrations = await self.cut_off(db)
        await (migrations.mark("2.sql", applied=False) if forget == "mark" else migrations.rollback_migration("2.sql"))
        await db.execute("DROP TABLE {{tables.fuse}}")
        await migrations.apply_pending_migrations()
        await db.execute("DELETE FROM {{tables.fuse}}")
        await migrations.revert()
        assert await db.fetch_value(self.DONE_ONCE) == 2
        assert not await db.fetch_value("SELECT count(*) FROM pg_class WHERE relname = 't_kind'")

    async def test_an_unknown_outcome_stays_unknown_until_it_is_resolved(self, db: AsyncDatabaseManager) -> None:
        files = {"2.sql": "SELECT 1", "2.down.sql": HEAD + "CALL {{schema}}.p();\nSELECT 1"}
        migrations = manager(db, files)
        await migrations.apply_pending_migrations()
        await started_by_a_dead_runner(db, "2.down.sql", 1, 'CALL "app".p()')
        with pytest.raises(pgdbm.MigrationUnknownError, match=r"2\.down\.sql:2:1: statement 1.*resolve_statement"):
            await migrations.revert()
        await migrations.resolve_statement("2.down.sql", 1, done=True)
        assert [one.filename for one in await migrations.revert()] == ["2.sql"]


async def test_a_lock_timeout_is_retried_and_each_attempt_is_journaled(
    db: AsyncDatabaseManager, connect: Connect
) -> None:
    await manager(db, {}).apply_pending_migrations()
    events: list[Any] = []
    files = {"2.sql": "SELECT 1;\nALTER TABLE {{tables.t}} ADD COLUMN note text"}
    migrations = manager(db, files, lock_timeout=0.05, on_event=events.append)
    async with connect() as blocker:
        transaction = blocker.transaction()
        await transaction.start()
        await blocker.execute("LOCK TABLE app.t IN ACCESS SHARE MODE")
        run = asyncio.create_task(migrations.apply_pending_migrations())
        while not any(event.kind == "retrying" for event in events):
            await asyncio.sleep(0.02)
        await transaction.rollback()
    assert (await run)["status"] == "success"
    entries = await migrations.journal()
    assert {(entry.event, entry.sqlstate, entry.statement) for entry in entries} == {("retried", "55P03", 2)}
    kinds = [event.kind for event in events]
    assert kinds[0] == "run_started"
    assert kinds[-1] == "run_ended"
    assert kinds.count("migration_ended") == 1


async def test_a_blocked_statement_reports_its_blockers(db: AsyncDatabaseManager, connect: Connect) -> None:
    await manager(db, {}).apply_pending_migrations()
    events: list[Any] = []
    files = {"2.sql": "ALTER TABLE {{tables.t}} ADD COLUMN note text"}
    async with connect() as blocker:
        transaction = blocker.transaction()
        await transaction.start()
        await blocker.execute("LOCK TABLE app.t IN ACCESS SHARE MODE")
        pid = await blocker.fetchval("SELECT pg_backend_pid()")
        run = asyncio.create_task(manager(db, files, on_event=events.append).apply_pending_migrations())
        while not any(event.kind == "blocked" for event in events):
            await asyncio.sleep(0.05)
        await transaction.rollback()
    await run
    blocked = next(event for event in events if event.kind == "blocked")
    assert blocked.details["blockers"][0]["pid"] == pid
    assert "LOCK TABLE" in blocked.details["blockers"][0]["query"] or blocked.details["blockers"][0]["query"]
    assert blocked.module == "m"


async def test_a_lock_timeout_names_the_blockers(db: AsyncDatabaseManager, connect: Connect) -> None:
    """Without a listener, too: the blocking sessions are polled after the first attempt."""
    await manager(db, {}).apply_pending_migrations()
    files = {"2.sql": "ALTER TABLE {{tables.t}} ADD COLUMN note text"}
    async with connect() as blocker, blocker.transaction():
        await blocker.execute("LOCK TABLE app.t IN ACCESS SHARE MODE")
        pid = await blocker.fetchval("SELECT pg_backend_pid()")
        with pytest.raises(MigrationExecutionError) as failed:
            await manager(db, files, lock_timeout=0.4, retry_for=3).apply_pending_migrations()
    error = failed.value
    (found,) = error.blockers
    assert (found["pid"], found["relation"], found["mode"]) == (pid, "app.t", "ACCESS EXCLUSIVE")
    assert (found["state"], found["query"]) == ("idle in transaction", "SELECT pg_backend_pid()")
    assert error.attempts > 1
    assert error.waited_s is not None
    assert f"Process {pid} " in str(error)
    assert f"It was tried {error.attempts} times" in str(error)
    assert "SELECT pg_backend_pid()" not in str(error)
    assert error.fields()["waiting_for"] == error.blockers


async def test_a_listener_that_fails_does_not_affect_the_run(db: AsyncDatabaseManager) -> None:
    def fail(_event: Any) -> None:
        raise RuntimeError("no")

    assert (await manager(db, {}, on_event=fail).apply_pending_migrations())["status"] == "success"


async def test_a_listener_gets_an_event_for_every_statement(db: AsyncDatabaseManager) -> None:
    events: list[Any] = []
    await manager(db, {"2.sql": HEAD + "VACUUM;\nSELECT 1;"}, on_event=events.append).apply_pending_migrations()
    reported = [(event.kind, event.filename, event.statement, event.statements) for event in events]
    assert reported == [
        ("run_started", None, None, None),
        ("migration_started", "1_t.sql", None, 1),
        ("statement_started", "1_t.sql", 1, 1),
        ("statement_ended", "1_t.sql", 1, 1),
        ("migration_ended", "1_t.sql", None, None),
        ("migration_started", "2.sql", None, 2),
        ("statement_started", "2.sql", 1, 2),
        ("statement_ended", "2.sql", 1, 2),
        ("statement_started", "2.sql", 2, 2),
        ("statement_ended", "2.sql", 2, 2),
        ("migration_ended", "2.sql", None, None),
        ("run_ended", None, None, None),
    ]
