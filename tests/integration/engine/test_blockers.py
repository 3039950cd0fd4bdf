"""Sessions that block a migration are ended if a policy allows it, and no others."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, DatabaseConfig, MigrationExecutionError
from pgdbm.errors import ConfigurationError
from pgdbm.migrations import BlockerPolicy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pgdbm.migrations.engine.blockers import EndedBlocker
    from pgdbm.migrations.engine.events import Event

TABLE = """
CREATE TABLE {{tables.t}} (id integer);
GRANT ALL ON {{tables.t}} TO PUBLIC;
GRANT USAGE ON SCHEMA {{schema}} TO PUBLIC;
"""
CHANGE = "ALTER TABLE {{tables.t}} ADD COLUMN more text"


@pytest.fixture
async def db(database: str) -> AsyncIterator[AsyncDatabaseManager]:
    config = DatabaseConfig(connection_string=database, schema="app", min_connections=1, max_connections=4)
    async with AsyncDatabaseManager(config) as db:
        await AsyncMigrationManager(db, {"001_t.sql": TABLE}, "m").apply_pending_migrations()
        yield db


class Blocker:
    """A session that holds a lock on the table. ``is_open``: it has not been ended."""

    def __init__(self, connection: Any, user: str) -> None:
        self.connection = connection
        self.user = user
        self.pid: int = connection.get_server_pid()

    @property
    def is_open(self) -> bool:
        return not self.connection.is_closed()


@asynccontextmanager
async def blocking(
    database: str, *, superuser: bool = False, application: str = "billing", first: str = "SELECT"
) -> AsyncIterator[Blocker]:
    """A session of a role of its own that has read the table, and is idle in its transaction."""
    user = f"blocker_{time.monotonic_ns()}"
    admin = await asyncpg.connect(database)
    await admin.execute(f"CREATE ROLE {user} LOGIN PASSWORD 'x' {'SUPERUSER' if superuser else ''}")
    parts = urlsplit(database)
    dsn = urlunsplit(parts._replace(netloc=f"{user}:x@{parts.netloc.rpartition('@')[2]}"))
    connection = await asyncpg.connect(dsn, server_settings={"application_name": application})
    try:
        await connection.execute(f"BEGIN; {first}; SELECT FROM app.t")
        yield Blocker(connection, user)
    finally:
        connection.terminate()
        await admin.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{user}'; DROP ROLE {user}"
        )
        await admin.close()


def changing(db: AsyncDatabaseManager, policy: BlockerPolicy | None, **options: Any) -> AsyncMigrationManager:
    return AsyncMigrationManager(
        db, {"001_t.sql": TABLE, "002_more.sql": CHANGE}, "m", end_blockers=policy, lock_timeout=2, **options
    )


async def blocker_entries(manager: AsyncMigrationManager) -> list[Any]:
    return [entry for entry in await manager.journal() if entry.event == "blocker_ended"]


@pytest.mark.parametrize("listening", [False, True])
async def test_a_session_that_is_idle_in_a_transaction(
    db: AsyncDatabaseManager, database: str, listening: bool
) -> None:
    events: list[Event] = []
    ended: list[EndedBlocker] = []
    options: dict[str, Any] = {"on_event": events.append} if listening else {}
    manager = changing(db, BlockerPolicy(idle_in_transaction_s=0.1, on_ended=ended.append), **options)
    async with blocking(database) as blocker:
        result = await manager.apply_pending_migrations()
        assert [one["filename"] for one in result["applied"]] == ["002_more.sql"]
        (one,) = ended
        assert (one.pid, one.user, one.application_name) == (blocker.pid, blocker.user, "billing")
        assert (one.filename, one.action, one.state) == ("002_more.sql", "terminate", "idle in transaction")
        (entry,) = await blocker_entries(manager)
        assert entry.filename == "002_more.sql"
        assert f"terminated the blocking process {blocker.pid} ({blocker.user} billing)" in entry.message
        found = [event.details["blocker"]["pid"] for event in events if event.kind == "blocker_ended"]
        assert found == ([blocker.pid] if listening else [])
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
            await blocker.connection.execute("SELECT")


@pytest.mark.parametrize("by", ["application", "role"])
async def test_a_session_by_its_name(db: AsyncDatabaseManager, database: str, by: str) -> None:
    async with blocking(database) as blocker:
        policy = (
            BlockerPolicy(application_names=("other", "billing"))
            if by == "application"
            else BlockerPolicy(roles=(blocker.user,))
        )
        manager = changing(db, policy)
        assert (await manager.apply_pending_migrations())["status"] == "success"
        assert len(await blocker_entries(manager)) == 1


async def test_a_statement_is_cancelled(db: AsyncDatabaseManager, database: str) -> None:
    """The session stays, and its transaction is rolled back."""
    async with blocking(database) as blocker:
        sleeping = asyncio.create_task(blocker.connection.execute("SELECT pg_sleep(60); COMMIT"))
        manager = changing(db, BlockerPolicy(action="cancel", application_names=("billing",)))
        applying = asyncio.create_task(manager.apply_pending_migrations())
        with pytest.raises(asyncpg.QueryCanceledError):
            await sleeping
        await blocker.connection.execute("ROLLBACK")
        assert (await applying)["status"] == "success"
        assert blocker.is_open


async def refused(manager: AsyncMigrationManager, blocker: Blocker) -> None:
    """The migration does not get its lock, and the blocker is still there."""
    with pytest.raises(MigrationExecutionError) as caught:
        await manager.with_options(retry_for=2).apply_pending_migrations()
    assert caught.value.sqlstate == "55P03"
    assert await blocker.connection.fetchval("SELECT 1") == 1
    assert await blocker_entries(manager) == []


async def test_no_session_without_a_policy(db: AsyncDatabaseManager, database: str) -> None:
    async with blocking(database) as blocker:
        await refused(changing(db, None), blocker)
        await refused(changing(db, BlockerPolicy()), blocker)
        await refused(changing(db, BlockerPolicy(idle_in_transaction_s=3600, application_names=("x",))), blocker)


ALL = BlockerPolicy(idle_in_transaction_s=0, application_names=("billing",))


async def test_no_superuser(db: AsyncDatabaseManager, database: str) -> None:
    async with blocking(database, superuser=True) as blocker:
        await refused(changing(db, ALL), blocker)


async def test_no_other_migration(db: AsyncDatabaseManager, database: str) -> None:
    """Each holds an advisory lock."""
    async with blocking(database, first="SELECT pg_advisory_xact_lock(4711)") as blocker:
        await refused(changing(db, ALL), blocker)


async def test_no_autovacuum(db: AsyncDatabaseManager, database: str) -> None:
    """The statement selects client sessions only: background processes have another type."""
    async with asyncio.timeout(30):
        types = await db.fetch_all("SELECT DISTINCT backend_type FROM pg_stat_activity ORDER BY 1")
    assert {"client backend", "checkpointer"} <= {row["backend_type"] for row in types}
    from pgdbm.sql import statement

    assert "a.backend_type = 'client backend'" in statement("watch", "end_blockers", end="pg_catalog.pg_cancel_backend")


async def test_without_the_privilege(db: AsyncDatabaseManager, database: str, caplog: pytest.LogCaptureFixture) -> None:
    """The migration waits as without a policy, and the log says why."""
    user = f"runner_{time.monotonic_ns()}"
    await db.execute(
        f"CREATE ROLE {user} LOGIN PASSWORD 'x'; GRANT ALL ON SCHEMA app TO {user}; GRANT pg_read_all_stats TO {user}"
    )
    await db.execute(f"ALTER TABLE app.t OWNER TO {user}; ALTER TABLE app.schema_migrations OWNER TO {user}")
    parts = urlsplit(database)
    dsn = urlunsplit(parts._replace(netloc=f"{user}:x@{parts.netloc.rpartition('@')[2]}"))
    config = DatabaseConfig(connection_string=dsn, schema="app", min_connections=1, max_connections=4)
    async with AsyncDatabaseManager(config) as own, blocking(database) as blocker:
        manager = changing(own, BlockerPolicy(application_names=("billing",)), snapshots=False)
        await refused(manager, blocker)
    assert "pg_signal_backend" in caplog.text
    await db.execute(f"REASSIGN OWNED BY {user} TO CURRENT_USER; DROP OWNED BY {user}; DROP ROLE {user}")


def test_policies_that_make_no_sense() -> None:
    with pytest.raises(ConfigurationError, match="terminate"):
        BlockerPolicy(action="cancel", idle_in_transaction_s=1)
    with pytest.raises(ConfigurationError, match="negative"):
        BlockerPolicy(idle_in_transaction_s=-1)
    with pytest.raises(ConfigurationError, match="action"):
        BlockerPolicy(action="kill")  # type: ignore[arg-type]


async def test_a_listener_that_fails_does_not_keep_an_ended_session_from_the_journal(
    db: AsyncDatabaseManager, database: str
) -> None:
    def fail(_: EndedBlocker) -> None:
        raise ValueError("no room")

    manager = changing(db, BlockerPolicy(idle_in_transaction_s=0.1, on_ended=fail))
    async with blocking(database):
        await manager.apply_pending_migrations()
    assert len(await blocker_entries(manager)) == 1
