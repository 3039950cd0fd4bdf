"""What the lock of a module in a schema guarantees, for everything that takes it.

Everything that takes it writes into the history in the end, so a lock on the history's table stops each of them while
it holds the module's.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import permutations
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

import pgdbm
from pgdbm import AsyncDatabaseManager, DatabaseConfig
from pgdbm.migrations.state import lock as locks
from pgdbm.migrations.state.lock import MigrationLock, pauses

from .lock_takers import LOCK_TAKERS, LockTaker, prepare

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from ...conftest import Databases

MODULE = "m"
KEY = MigrationLock("app", MODULE, 0).key
DEADLINE_S = 20.0

_HOLDERS = """
SELECT a.pid, a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND a.datname = current_database()
  AND (l.classid::bigint << 32 | l.objid::bigint) = $1
"""
_STOPPED = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'app.schema_migrations'::regclass"


class Scenario:
    """A prepared schema, and named sessions that work in it."""

    def __init__(self, dsn: str, stack: AsyncExitStack) -> None:
        self._dsn = dsn
        self._stack = stack
        self._runs: list[asyncio.Task[Any]] = []
        self.polls: Counter[Any] = Counter()
        self.control: Any = None
        # Within a transaction pg_stat_activity stays as it was when it was first read.
        self._stopping: Any = None

    async def manager(self, name: str, schema: str = "app") -> AsyncDatabaseManager:
        """A manager whose connections the server knows by ``name``."""
        config = DatabaseConfig(
            connection_string=self._dsn,
            min_connections=1,
            max_connections=3,
            lock_timeout_ms=None,
            server_settings={"application_name": name},
        )
        pool = await AsyncDatabaseManager.create_shared_pool(config)
        self._stack.callback(pool.terminate)
        return AsyncDatabaseManager(pool=pool, schema=schema)

    async def connection(self, name: str) -> Any:
        db = await self.manager(name)
        return await self._stack.enter_async_context(db.acquire())

    async def start(self, taker: LockTaker, name: str, **options: Any) -> asyncio.Task[Any]:
        """Runs ``taker`` in sessions called ``name``."""
        run = asyncio.create_task(taker.work(await self.manager(name), MODULE, options))
        self._runs.append(run)
        return run

    async def block_writers(self) -> None:
        """From here to :meth:`release_writers`, writers of the history wait."""
        self._stopping = await self.connection("stopping")
        await self._stopping.execute("BEGIN; LOCK TABLE app.schema_migrations IN SHARE MODE")

    async def release_writers(self) -> None:
        await self._stopping.execute("COMMIT")

    async def holders(self, key: int = KEY) -> list[str]:
        """The names of the sessions that hold the module's lock."""
        return [row["application_name"] for row in await self.control.fetch(_HOLDERS, key)]

    async def until_holding(self, run: asyncio.Task[Any]) -> None:
        """Wait until ``run`` holds the lock and has reached the history."""
        while not (await self.control.fetchval(_STOPPED) and await self.holders()):
            assert not run.done(), run.exception() or run.result()
            await asyncio.sleep(0.005)

    async def until_waiting(self, run: asyncio.Task[Any]) -> None:
        """Wait until ``run`` has found the lock taken and tried again."""
        while self.polls[run] < 2:
            assert not run.done(), run.exception() or run.result()
            await asyncio.sleep(0.005)

    async def check_done(self, *takers: LockTaker) -> None:
        """The history shows their work, and no session holds a lock."""
        names = {row["filename"] for row in await self.control.fetch("SELECT filename FROM app.schema_migrations")}
        for taker in takers:
            assert (taker.filename in names) == taker.leaves, taker.name
        assert await self.holders() == []

    async def finish(self) -> None:
        for run in self._runs:
            run.cancel()
        await asyncio.gather(*self._runs, return_exceptions=True)


@asynccontextmanager
async def entered(dsn: str) -> AsyncIterator[Scenario]:
    async with asyncio.timeout(DEADLINE_S), AsyncExitStack() as stack:
        scenario = Scenario(dsn, stack)
        scenario.control = await scenario.connection("control")
        stack.push_async_callback(scenario.finish)
        yield scenario


@pytest.fixture(scope="session")
def prepared(databases: Databases) -> Iterator[str]:
    """The name of a database in which everything is prepared, to be copied."""

    async def make(dsn: str) -> None:
        async with AsyncDatabaseManager(DatabaseConfig(connection_string=dsn, schema="app")) as db:
            await prepare(db, MODULE)

    with databases.fresh() as dsn:
        asyncio.run(make(dsn))
        yield urlsplit(dsn).path.removeprefix("/")


@pytest.fixture
def database(databases: Databases, prepared: str) -> Iterator[str]:
    with databases.fresh(template=prepared) as dsn:
        yield dsn


@pytest.fixture
async def scenario(database: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scenario]:
    async with entered(database) as made:

        def counted() -> Iterator[float]:
            for pause in pauses():
                made.polls[asyncio.current_task()] += 1
                yield pause

        monkeypatch.setattr(locks, "pauses", counted)
        yield made


each = pytest.mark.parametrize("taker", LOCK_TAKERS, ids=str)


@pytest.mark.parametrize(("holder", "waiter"), list(permutations(LOCK_TAKERS, 2)), ids=str)
async def test_a_second_taker_waits_for_the_lock(scenario: Scenario, holder: LockTaker, waiter: LockTaker) -> None:
    await scenario.block_writers()
    first = await scenario.start(holder, "holder")
    await scenario.until_holding(first)
    second = await scenario.start(waiter, "waiter")
    await scenario.until_waiting(second)
    for _ in range(5):
        assert await scenario.holders() == ["holder"]
        assert await scenario.control.fetchval(_STOPPED) == 1
        await asyncio.sleep(0.01)
    assert not second.done()
    await scenario.release_writers()
    await asyncio.gather(first, second)
    await scenario.check_done(holder, waiter)


@each
async def test_the_lock_key_is_64_bits_of_schema_and_module(scenario: Scenario, taker: LockTaker) -> None:
    await scenario.block_writers()
    run = await scenario.start(taker, "holder")
    await scenario.until_holding(run)
    keys = [MigrationLock(schema, module, 0).key for schema, module in (("app", "n"), ("apq", "m"), ("appm", ""))]
    assert len({KEY, *keys}) == 4
    assert max(abs(key) for key in (KEY, *keys)) > 2**32
    assert [await scenario.holders(key) for key in (KEY, *keys)] == [["holder"], [], [], []]
    # Neither another module nor another schema waits for it.
    other = await scenario.manager("other", "other")
    await prepare(other, MODULE)
    await taker.work(other, MODULE, {})
    await scenario.release_writers()
    await run
    await prepare(await scenario.manager("another", "another"), "n")
    await scenario.check_done(taker)


@each
async def test_a_waiting_session_holds_no_snapshot(scenario: Scenario, taker: LockTaker) -> None:
    other = await scenario.connection("other")
    await other.execute("CREATE TABLE public.busy AS SELECT i FROM generate_series(1, 100) AS i")
    await scenario.control.execute("SELECT pg_advisory_lock($1)", KEY)
    run = await scenario.start(taker, "waiter")
    await scenario.until_waiting(run)
    # CREATE INDEX CONCURRENTLY waits for every older snapshot, three times.
    await other.execute("CREATE INDEX CONCURRENTLY busy_i ON public.busy (i)")
    assert not run.done()
    await scenario.control.execute("SELECT pg_advisory_unlock($1)", KEY)
    await run
    await scenario.check_done(taker)


@each
async def test_a_timeout_names_the_holder(scenario: Scenario, taker: LockTaker) -> None:
    await scenario.control.execute("SELECT pg_advisory_lock($1)", KEY)
    pid = scenario.control.get_server_pid()
    run = await scenario.start(taker, "waiter", lock_wait_timeout=0.1)
    with pytest.raises(pgdbm.MigrationLockTimeoutError, match=rf"pid {pid} \(control, user .*, since 2") as caught:
        await run
    assert "module 'm' in schema 'app'" in str(caught.value)
    assert caught.value.waited_s >= 0.1
    assert caught.value.holder is not None
    assert {"pid": pid, "application_name": "control"}.items() <= caught.value.holder.items()
    assert caught.value.holder["since"] is not None
    await scenario.control.execute("SELECT pg_advisory_unlock($1)", KEY)
    await taker.work(await scenario.manager("again"), MODULE, {})
    await scenario.check_done(taker)


@each
async def test_the_lock_ends_with_the_session(scenario: Scenario, taker: LockTaker) -> None:
    await scenario.block_writers()
    run = await scenario.start(taker, "holder")
    await scenario.until_holding(run)
    (row,) = await scenario.control.fetch(_HOLDERS, KEY)
    await scenario.control.execute("SELECT pg_terminate_backend($1)", row["pid"])
    with pytest.raises(pgdbm.ConnectionError):
        await run
    assert await scenario.holders() == []
    await scenario.release_writers()
    await taker.work(await scenario.manager("next"), MODULE, {})
    await scenario.check_done(taker)


@each
async def test_the_lock_ends_with_the_task(scenario: Scenario, taker: LockTaker) -> None:
    await scenario.block_writers()
    run = await scenario.start(taker, "holder")
    await scenario.until_holding(run)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    while await scenario.holders():
        await asyncio.sleep(0.005)
    await scenario.release_writers()
    await taker.work(await scenario.manager("next"), MODULE, {})
    await scenario.check_done(taker)
