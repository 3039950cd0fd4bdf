"""A real PostgreSQL for every test that asks: one embedded server per test process, one database per test.

``PGDBM_TEST_DSN`` names a server to use instead.
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import os
import shutil
import signal
import tempfile
import uuid
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from hypothesis import HealthCheck, settings

from pgdbm import AsyncDatabaseManager, DatabaseConfig
from pgdbm.embedded import EmbeddedPostgres
from pgdbm.testing.server import parent_folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager

# Started in the background of a shell, we were told to ignore interrupts, and so would be the processes that we start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The servers of the tests have no TLS, and a context for it takes a third of what a connection does.
os.environ.setdefault("PGSSLMODE", "disable")

# On machines that are busy with other things as well.
settings.register_profile(
    "tests", deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow], database=None
)
settings.load_profile("tests")

ROOT = Path(__file__).resolve().parent.parent


def pytest_xdist_auto_num_workers() -> int:
    """Two for each core, and one: a test waits for its database and its processes longer than it computes."""
    return 2 * len(os.sched_getaffinity(0)) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long ones first: begun last, they keep one worker busy after all others have ended."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_collection_finish() -> None:
    """What is loaded by now stays: the garbage collector need not look at it again and again."""
    gc.freeze()


@pytest.fixture(scope="session")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stopped cluster to copy, one for all workers, since initdb is what takes the time."""
    base = tmp_path_factory.getbasetemp()
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    made = folder / "seed"
    with (folder / "seed.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            with EmbeddedPostgres(folder / "seed.part", durable=False):
                pass
            (folder / "seed.part").rename(made)
    return made


@pytest.fixture(scope="session")
def postgres_dsn(request: pytest.FixtureRequest) -> Iterator[str]:
    """A superuser's DSN of a server's maintenance database."""
    given = os.environ.get("PGDBM_TEST_DSN")
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="pgdbm-tests-", dir=parent_folder()) as folder:
        data_dir = shutil.copytree(request.getfixturevalue("seed"), Path(folder) / "data")
        with EmbeddedPostgres(data_dir, durable=False, settings={"max_connections": "300"}) as server:
            asyncio.run(_hash_once(server.dsn()))
            yield server.dsn()


async def _hash_once(dsn: str) -> None:
    """Thousands of connections prove that they know the password: with one round each instead of 4,096."""
    connection = await asyncpg.connect(dsn)
    if connection.get_server_version().major >= 16:
        await connection.execute(f"SET scram_iterations = 1; ALTER ROLE postgres PASSWORD '{urlsplit(dsn).password}'")
    await connection.close()


def with_database(dsn: str, name: str) -> str:
    """``dsn`` with another database."""
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))


class Databases:
    """Makes databases, and drops them, over one connection that stays: to connect takes as long as to make one."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._pristine: str | None = None
        self._connection: asyncpg.Connection[Any] | None = None
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)

    @contextmanager
    def fresh(self, template: str | None = None) -> Iterator[str]:
        """The DSN of a new database, empty or a copy of ``template``, dropped at the end."""
        name = f"test_{uuid.uuid4().hex[:16]}"
        self._runner.run(self._make(name, template))
        yield with_database(self._server, name)
        self._runner.run(self._drop(name))

    def close(self) -> None:
        if self._pristine is not None:
            self._runner.run(self._drop(self._pristine))
        if self._connection is not None:
            self._runner.run(self._connection.close())
        self._runner.close()

    async def _empty(self) -> str:
        """An empty database that somebody has been in: its copies have what the first connection else has to make."""
        if self._pristine is None:
            name = f"pristine_{uuid.uuid4().hex[:16]}"
            await self._make(name, "template0")
            await (await asyncpg.connect(with_database(self._server, name))).close()
            self._pristine = name
        return self._pristine

    async def _make(self, name: str, template: str | None) -> None:
        connection = await self._connected()
        template = template or await self._empty()
        # Half the work of the default, which writes every page to the log, too; 14 knows no other way.
        strategy = "STRATEGY FILE_COPY" if connection.get_server_version().major >= 15 else ""
        await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" {strategy}')

    async def _drop(self, name: str) -> None:
        await (await self._connected()).execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    async def _connected(self) -> asyncpg.Connection[Any]:
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(self._server)
        return self._connection


@pytest.fixture(scope="session")
def databases(postgres_dsn: str) -> Iterator[Databases]:
    made = Databases(postgres_dsn)
    yield made
    made.close()


@pytest.fixture
def database(databases: Databases) -> Iterator[str]:
    """The DSN of a fresh, empty database, dropped at the end."""
    with databases.fresh() as dsn:
        yield dsn


@pytest.fixture
async def pool(database: str) -> AsyncIterator[asyncpg.Pool[Any]]:
    """A shared pool to :func:`database`."""
    config = DatabaseConfig(connection_string=database, min_connections=1, max_connections=10)
    pool = await AsyncDatabaseManager.create_shared_pool(config)
    yield pool
    await pool.close()


@pytest.fixture
def db(pool: asyncpg.Pool[Any]) -> AsyncDatabaseManager:
    """A manager bound to schema ``app`` on the shared pool; the schema does not exist yet."""
    return AsyncDatabaseManager(pool=pool, schema="app")


@pytest.fixture
def connect(database: str) -> Callable[[], AbstractAsyncContextManager[Any]]:
    """``async with connect() as connection``: a plain asyncpg connection to :func:`database`."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Any]:
        connection = await asyncpg.connect(database)
        try:
            yield connection
        finally:
            await connection.close()

    return opened
