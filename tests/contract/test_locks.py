"""What the lock of a module in a schema promises, whatever takes it and however it is held.

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
from pgdbm.migrations import locks
from pgdbm.migrations.locks import MigrationLock, pauses

from .lock_takers import LOCK_TAKERS, LockTaker, prepare

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from ..conftest import Databases

MODULE = "m"
KEY = MigrationLock("app", MODULE, 0).key
PATIENCE_S = 20.0

_HOLDERS = """
SELECT a.pid, a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND a.datname = current_database()
  AND (l.classid::bigint << 32 | l.objid::bigint) = $1
"""
_STOPPED = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'app.schema_migrations'::regclass"


class Arena:
    """A schema with everything in it, and sessions of several names that work there."""

    def __init__(self, dsn: str, stack: AsyncExitStack) -> None:
        self._dsn = dsn
        self._stack = stack
        self._runs: list[asyncio.Task[Any]] = []
        self.looks: Counter[Any] = Counter()
        self.control: Any = None
        # Within a transaction pg_stat_activity stays as it was when it was first looked at.
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
        """``taker`` at work, in sessions called ``name``."""
        run = asyncio.create_task(taker.work(await self.manager(name), MODULE, options))
        self._runs.append(run)
        return run

    async def stop_who_writes(self) -> None:
        """From here to :meth:`let_go`, whoever writes into the history waits."""
        self._stopping = await self.connection("stopping")
        await self._stopping.execute("BEGIN; LOCK TABLE app.schema_migrations IN SHARE MODE")

    async def let_go(self) -> None:
        await self._stopping.execute("COMMIT")

    async def holders(self, key: int = KEY) -> list[str]:
        """The names of the sessions that hold the module's lock."""
        return [row["application_name"] for row in await self.control.fetch(_HOLDERS, key)]

    async def until_holding(self, run: asyncio.Task[Any]) -> None:
        """Until ``run`` holds the lock and has come as far as the history."""
        while not (await self.control.fetchval(_STOPPED) and await self.holders()):
            assert not run.done(), run.exception() or run.result()
            await asyncio.sleep(0.005)

    async def until_waiting(self, run: asyncio.Task[Any]) -> None:
        """Until ``run`` has looked at the lock, found it taken, and come back to look again."""
        while self.looks[run] < 2:
            assert not run.done(), run.exception() or run.result()
            await asyncio.sleep(0.005)

    async def check_done(self, *takers: LockTaker) -> None:
        """The history says that they did their work, and nobody holds a lock."""
        names = {row["filename"] for row in await self.control.fetch("SELECT filename FROM app.schema_migrations")}
        for taker in takers:
            assert (taker.filename in names) == taker.leaves, taker.name
        assert await self.holders() == []

    async def finish(self) -> None:
        for run in self._runs:
            run.cancel()
        await asyncio.gather(*self._runs, return_exceptions=True)


@asynccontextmanager
async def entered(dsn: str) -> AsyncIterator[Arena]:
    async with asyncio.timeout(PATIENCE_S), AsyncExitStack() as stack:
        arena = Arena(dsn, stack)
        arena.control = await arena.connection("control")
        stack.push_async_callback(arena.finish)
        yield arena


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
async def arena(database: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Arena]:
    async with entered(database) as made:

        def counted() -> Iterator[float]:
            for pause in pauses():
                made.looks[asyncio.current_task()] += 1
                yield pause

        monkeypatch.setattr(locks, "pauses", counted)
        yield made


each = pytest.mark.parametrize("taker", LOCK_TAKERS, ids=str)


@pytest.mark.parametrize(("holder", "waiter"), list(permutations(LOCK_TAKERS, 2)), ids=str)
async def test_while_one_holds_it_the_other_waits(arena: Arena, holder: LockTaker, waiter: LockTaker) -> None:
    await arena.stop_who_writes()
    first = await arena.start(holder, "holder")
    await arena.until_holding(first)
    second = await arena.start(waiter, "waiter")
    await arena.until_waiting(second)
    for _ in range(5):
        assert await arena.holders() == ["holder"]
        assert await arena.control.fetchval(_STOPPED) == 1
        await asyncio.sleep(0.01)
    assert not second.done()
    await arena.let_go()
    await asyncio.gather(first, second)
    await arena.check_done(holder, waiter)


@each
async def test_its_key_is_64_bits_of_schema_and_module(arena: Arena, taker: LockTaker) -> None:
    await arena.stop_who_writes()
    run = await arena.start(taker, "holder")
    await arena.until_holding(run)
    keys = [MigrationLock(schema, module, 0).key for schema, module in (("app", "n"), ("apq", "m"), ("appm", ""))]
    assert len({KEY, *keys}) == 4
    assert max(abs(key) for key in (KEY, *keys)) > 2**32
    assert [await arena.holders(key) for key in (KEY, *keys)] == [["holder"], [], [], []]
    # Neither another module nor another schema waits for it.
    other = await arena.manager("other", "other")
    await prepare(other, MODULE)
    await taker.work(other, MODULE, {})
    await arena.let_go()
    await run
    await prepare(await arena.manager("another", "another"), "n")
    await arena.check_done(taker)


@each
async def test_who_waits_holds_no_snapshot(arena: Arena, taker: LockTaker) -> None:
    other = await arena.connection("other")
    await other.execute("CREATE TABLE public.busy AS SELECT i FROM generate_series(1, 100) AS i")
    await arena.control.execute("SELECT pg_advisory_lock($1)", KEY)
    run = await arena.start(taker, "waiter")
    await arena.until_waiting(run)
    # It waits for every snapshot that is older than its own, three times.
    await other.execute("CREATE INDEX CONCURRENTLY busy_i ON public.busy (i)")
    assert not run.done()
    await arena.control.execute("SELECT pg_advisory_unlock($1)", KEY)
    await run
    await arena.check_done(taker)


@each
async def test_the_wait_has_an_end_that_names_the_holder(arena: Arena, taker: LockTaker) -> None:
    await arena.control.execute("SELECT pg_advisory_lock($1)", KEY)
    pid = arena.control.get_server_pid()
    run = await arena.start(taker, "waiter", lock_wait_timeout=0.1)
    with pytest.raises(pgdbm.MigrationLockTimeoutError, match=rf"pid {pid} \(control, user .*, since 2") as caught:
        await run
    assert "module 'm' in schema 'app'" in str(caught.value)
    assert caught.value.waited_s >= 0.1
    assert caught.value.holder is not None
    assert {"pid": pid, "application_name": "control"}.items() <= caught.value.holder.items()
    assert caught.value.holder["since"] is not None
    await arena.control.execute("SELECT pg_advisory_unlock($1)", KEY)
    await taker.work(await arena.manager("again"), MODULE, {})
    await arena.check_done(taker)


@each
async def test_it_ends_with_the_session(arena: Arena, taker: LockTaker) -> None:
    await arena.stop_who_writes()
    run = await arena.start(taker, "holder")
    await arena.until_holding(run)
    (row,) = await arena.control.fetch(_HOLDERS, KEY)
    await arena.control.execute("SELECT pg_terminate_backend($1)", row["pid"])
    with pytest.raises(pgdbm.ConnectionError):
        await run
    assert await arena.holders() == []
    await arena.let_go()
    await taker.work(await arena.manager("next"), MODULE, {})
    await arena.check_done(taker)


@each
async def test_it_ends_with_the_task(arena: Arena, taker: LockTaker) -> None:
    await arena.stop_who_writes()
    run = await arena.start(taker, "holder")
    await arena.until_holding(run)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    while await arena.holders():
        await asyncio.sleep(0.005)
    await arena.let_go()
    await taker.work(await arena.manager("next"), MODULE, {})
    await arena.check_done(taker)
