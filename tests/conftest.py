"""A real PostgreSQL for every test that asks: one embedded server per test process, one database per test.

``PGDBM_TEST_DSN`` names a server to use instead.
"""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import uuid
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from pgdbm import AsyncDatabaseManager, DatabaseConfig
from pgdbm.embedded import EmbeddedPostgres
from pgdbm.testing.server import parent_folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager

# Started in the background of a shell, we were told to ignore interrupts, and so would be the processes that we start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def postgres_dsn() -> Iterator[str]:
    """A superuser's DSN of a server's maintenance database."""
    given = os.environ.get("PGDBM_TEST_DSN")
    if given:
        yield given
        return
    settings = {"max_connections": "300"}
    with (
        tempfile.TemporaryDirectory(prefix="pgdbm-tests-", dir=parent_folder()) as folder,
        EmbeddedPostgres(Path(folder) / "data", durable=False, settings=settings) as server,
    ):
        yield server.dsn()


def with_database(dsn: str, name: str) -> str:
    """``dsn`` with another database."""
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))


async def run_on(dsn: str, command: str) -> None:
    """Run one command over a connection of its own."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(command)
    finally:
        await connection.close()


@pytest.fixture
def database(postgres_dsn: str) -> Iterator[str]:
    """The DSN of a fresh, empty database, dropped at the end."""
    name = f"test_{uuid.uuid4().hex[:16]}"
    asyncio.run(run_on(postgres_dsn, f'CREATE DATABASE "{name}" TEMPLATE template0'))
    yield with_database(postgres_dsn, name)
    asyncio.run(run_on(postgres_dsn, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))


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
