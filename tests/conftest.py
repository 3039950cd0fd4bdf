"""A real PostgreSQL for every test that needs one: one embedded server per test process, one database per test.

``PGDBM_TEST_DSN`` names a server to use instead.
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import io
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

from .support.measured import only_imports_measured, pytest_runtest_protocol  # noqa: F401 - a hook
from .support.pgbouncer import IGNORED, pgbouncer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Iterator
    from contextlib import AbstractAsyncContextManager

# A shell starts background jobs with SIGINT ignored, and child processes inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The servers of the tests have no TLS, and creating a TLS context takes a third of the time of connecting.
os.environ.setdefault("PGSSLMODE", "disable")

# Without deadlines: the machine may be busy with other work.
settings.register_profile(
    "tests", deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow], database=None
)
settings.load_profile("tests")

ROOT = Path(__file__).resolve().parent.parent


def pytest_xdist_auto_num_workers() -> int:
    """Two for each core, and one more: tests wait for their database and processes longer than they compute."""
    # macOS has no affinities.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 2 * cores + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests first: a slow test that starts last keeps one worker busy after the others have ended."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """After a timeout, say where each asyncio task waits: the stack of a thread ends in the event loop."""
    if call.excinfo is not None and "pytest-timeout" in str(call.excinfo.value):
        # Not asyncio.all_tasks(), which knows only the tasks of a running loop.
        tasks = [one for one in gc.get_objects() if isinstance(one, asyncio.Task) and not one.done()]
        stacks = io.StringIO()
        for task in tasks:
            task.print_stack(file=stacks)
        item.add_report_section(call.when, "asyncio tasks", stacks.getvalue())
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without garbage collection, which takes a seventh of the time, and later exclude what was loaded."""
    gc.disable()
    try:
        with only_imports_measured():
            return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stopped cluster to copy, one for all workers, since initdb takes most of the time of a start."""
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
    """Hash the password with one iteration instead of 4,096: thousands of connections verify it."""
    connection = await asyncpg.connect(dsn)
    if connection.get_server_version().major >= 16:
        await connection.execute(f"SET scram_iterations = 1; ALTER ROLE postgres PASSWORD '{urlsplit(dsn).password}'")
    await connection.close()


def with_database(dsn: str, name: str) -> str:
    """``dsn`` with another database."""
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))


class Databases:
    """Creates and drops databases over one open connection: connecting takes as long as creating a database."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._pristine: str | None = None
        self._connection: asyncpg.Connection[Any] | None = None
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)

    @contextmanager
    def fresh(self, template: str | None = None, *, encoding: str | None = None) -> Iterator[str]:
        """The DSN of a new database, empty or a copy of ``template``, dropped at the end."""
        name = f"test_{uuid.uuid4().hex[:16]}"
        self._runner.run(self._make(name, template) if encoding is None else self._make_encoded(name, encoding))
        yield with_database(self._server, name)
        self._runner.run(self._drop(name))

    def close(self) -> None:
        if self._pristine is not None:
            self._runner.run(self._drop(self._pristine))
        if self._connection is not None:
            self._runner.run(self._connection.close())
        self._runner.close()

    async def _empty(self) -> str:
        """An empty database after its first connection, which creates what a copy would else have to create."""
        if self._pristine is None:
            name = f"pristine_{uuid.uuid4().hex[:16]}"
            await self._make(name, "template0")
            await (await asyncpg.connect(with_database(self._server, name))).close()
            self._pristine = name
        return self._pristine

    async def _make(self, name: str, template: str | None) -> None:
        connection = await self._connected()
        template = template or await self._empty()
        # Half the work of the default, which also writes every page to the WAL; 14 has no other strategy.
        strategy = "STRATEGY FILE_COPY" if connection.get_server_version().major >= 15 else ""
        await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" {strategy}')

    async def _make_encoded(self, name: str, encoding: str) -> None:
        connection = await self._connected()
        # This locale allows every encoding, unlike the locale provider of the server's default.
        provider = "LOCALE_PROVIDER libc" if connection.get_server_version().major >= 15 else ""
        await connection.execute(
            f"CREATE DATABASE \"{name}\" TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C' {provider}"
        )

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


@pytest.fixture(scope="module")
def pooler(postgres_dsn: str) -> Iterator[str]:
    """The start of a DSN, without the database, that leads through PgBouncer in transaction mode."""
    with pgbouncer(postgres_dsn, ignored=IGNORED) as base:
        yield base


@pytest.fixture
def pooled(pooler: str, database: str) -> str:
    """:func:`database` through the pooler."""
    return pooler + urlsplit(database).path
