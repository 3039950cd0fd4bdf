"""Errors of a server that cannot be reached; none of them shows a password."""

from __future__ import annotations

import asyncio
import logging
import socket
import traceback
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from pgdbm import AsyncDatabaseManager, AsyncDBError, ConfigurationError, ConnectionError, DatabaseConfig
from pgdbm.core import pool as pool_module

from ...support.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    Open = Callable[[DatabaseConfig], Awaitable[Any]]

SECRET = "q7-open-sesame-q8"


async def open_own(config: DatabaseConfig) -> None:
    await AsyncDatabaseManager(config).connect()


@pytest.fixture(params=[open_own, AsyncDatabaseManager.create_shared_pool], ids=["own", "shared"])
def open_pool(request: pytest.FixtureRequest) -> Open:
    """Both ways to create a pool."""
    found: Open = request.param
    return found


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port without a listener that no other process can take."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The length of each pause between two attempts, which are skipped."""
    made: list[float] = []
    sleep = asyncio.sleep

    async def pause(seconds: float) -> None:
        made.append(seconds)
        await sleep(0)

    class Clock:
        """asyncio, except for sleep."""

        def __getattr__(self, name: str) -> Any:
            return pause if name == "sleep" else getattr(asyncio, name)

    monkeypatch.setattr(pool_module, "asyncio", Clock())
    return made


def credentials(dsn: str, **changed: str) -> str:
    """``dsn`` with another user, password or database."""
    parts = urlsplit(dsn)
    user = changed.get("user", parts.username or "postgres")
    password = changed.get("password", parts.password or "")
    return urlunsplit(
        parts._replace(
            netloc=f"{user}:{password}@{parts.hostname}:{parts.port}",
            path="/" + changed.get("database", parts.path[1:]),
        )
    )


def everything_about(error: BaseException) -> str:
    """The text of ``error`` that may be logged."""
    details = getattr(error, "details", None)
    return "".join([*traceback.format_exception(error), repr(error), repr(details), repr(error.__cause__)])


@pytest.mark.parametrize("min_connections", [0, 1, 3])
async def test_a_refused_connection_is_a_connection_error_without_the_password(
    open_pool: Open, closed_port: int, pauses: list[float], caplog: pytest.LogCaptureFixture, min_connections: int
) -> None:
    config = DatabaseConfig(
        connection_string=f"postgresql://me:{SECRET}@127.0.0.1:{closed_port}/shop",
        min_connections=min_connections,
        retry_attempts=3,
    )
    with caplog.at_level(logging.DEBUG), pytest.raises(ConnectionError) as caught:
        await open_pool(config)
    error = caught.value
    assert isinstance(error, AsyncDBError)
    assert error.details == {
        "host": "127.0.0.1",
        "port": str(closed_port),
        "database": "shop",
        "attempts": 3,
        "error_type": "ConnectionRefusedError",
    }
    assert "after 3 attempts" in str(error)
    assert "Check if PostgreSQL is running" in str(error)
    assert isinstance(error.__cause__, ConnectionRefusedError)
    assert pauses == [1.0, 2.0]
    assert "attempt 2" in caplog.text
    assert SECRET not in caplog.text + everything_about(error)


async def test_pauses_between_attempts_grow_to_a_limit(closed_port: int, pauses: list[float]) -> None:
    config = DatabaseConfig(
        host="127.0.0.1", port=closed_port, password=SECRET,
        retry_attempts=6, retry_delay=1, retry_backoff=3, retry_max_delay=5,
    )  # fmt: skip
    with pytest.raises(ConnectionError) as caught:
        await open_own(config)
    assert pauses == [1, 3, 5, 5, 5]
    assert caught.value.details["attempts"] == 6
    pauses.clear()
    with pytest.raises(ConnectionError):
        await open_own(config.model_copy(update={"retry_delay": 9, "retry_attempts": 2}))
    assert pauses == [5]


async def test_a_single_attempt_has_no_pause(closed_port: int, pauses: list[float]) -> None:
    with pytest.raises(ConnectionError, match="after 1 attempt:"):
        await open_own(DatabaseConfig(host="127.0.0.1", port=closed_port, password=SECRET, retry_attempts=1))
    assert pauses == []


async def test_connecting_succeeds_on_a_later_attempt(open_pool: Open, database: str, pauses: list[float]) -> None:
    async with Proxy(database, refuses=2) as proxy:
        config = DatabaseConfig(connection_string=proxy.dsn, min_connections=1)
        if open_pool is open_own:
            async with AsyncDatabaseManager(config) as db:
                assert await db.fetch_value("SELECT 1") == 1
        else:
            pool = await AsyncDatabaseManager.create_shared_pool(config)
            assert await pool.fetchval("SELECT 1") == 1
            await pool.close()
    assert pauses == [1.0, 2.0]


async def test_connecting_can_be_cancelled_during_a_pause(closed_port: int) -> None:
    db = AsyncDatabaseManager(DatabaseConfig(host="127.0.0.1", port=closed_port, password=SECRET, retry_delay=60))
    task = asyncio.create_task(db.connect())
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert db.pool is None


async def test_a_wrong_password_is_not_retried(open_pool: Open, database: str, pauses: list[float]) -> None:
    wrong = credentials(database, password=SECRET)
    try:
        await (await asyncpg.connect(wrong)).close()
    except asyncpg.InvalidPasswordError:
        pass
    else:
        pytest.skip("this server trusts every connection")
    with pytest.raises(ConnectionError, match="Check the user, the password") as caught:
        await open_pool(DatabaseConfig(connection_string=wrong, min_connections=1))
    assert (caught.value.details["attempts"], pauses) == (1, [])
    assert isinstance(caught.value.__cause__, asyncpg.InvalidPasswordError)
    assert SECRET not in everything_about(caught.value)


async def test_a_missing_database_is_not_retried(open_pool: Open, database: str, pauses: list[float]) -> None:
    config = DatabaseConfig(connection_string=credentials(database, database="no_such"), min_connections=1)
    with pytest.raises(ConnectionError, match="no such database") as caught:
        await open_pool(config)
    assert (caught.value.details["database"], caught.value.details["attempts"], pauses) == ("no_such", 1, [])
    assert (urlsplit(database).password or SECRET) not in everything_about(caught.value)


async def test_too_many_connections_is_retried(database: str, pauses: list[float]) -> None:
    connection = await asyncpg.connect(database)
    name = urlsplit(database).path[1:]
    await connection.execute(f"CREATE ROLE \"{name}\" LOGIN PASSWORD '{SECRET}' CONNECTION LIMIT 0")
    try:
        limited = credentials(database, user=name, password=SECRET)
        with pytest.raises(ConnectionError, match="share one pool") as caught:
            await open_own(DatabaseConfig(connection_string=limited, min_connections=1))
    finally:
        await connection.execute(f'DROP ROLE "{name}"')
        await connection.close()
    assert len(pauses) == 2
    assert SECRET not in everything_about(caught.value)


@pytest.mark.parametrize(
    "dsn",
    [
        f"postgresql://me:{SECRET}/x@localhost/shop",
        f"postgresql://me:x@[{SECRET}@localhost/shop",
        f"postgresql://me:{SECRET}@x@localhost/shop",
        f"postgresql://me:{SECRET}%x@localhost/shop",
        f"postgresql://me:{SECRET}",
        f"postgresql://localhost:1/shop?user=me&password=x&{SECRET}",
        f"http://me:{SECRET}@localhost/shop",
        f"me:{SECRET}@localhost/shop",
    ],
)
async def test_an_invalid_connection_string_is_a_configuration_error(
    open_pool: Open, dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = DatabaseConfig(connection_string=dsn, retry_attempts=1)
    with (
        caplog.at_level(logging.DEBUG),
        pytest.raises(ConfigurationError, match=r"(?i)percent-encode|must begin|neither a URL") as caught,
    ):
        await open_pool(config)
    assert caught.value.config_field == "connection_string"
    assert caught.value.__cause__ is None
    assert SECRET not in caplog.text + everything_about(caught.value) + repr(config)


async def test_the_warning_about_another_pool_has_no_password(
    closed_port: int, pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    config = DatabaseConfig(
        connection_string=f"postgresql://me:{SECRET}@127.0.0.1:{closed_port}/shop?password={SECRET}", retry_attempts=2
    )
    results = await asyncio.gather(open_own(config), open_own(config), return_exceptions=True)
    assert all(isinstance(result, ConnectionError) for result in results)
    assert "Creating another connection pool to 127.0.0.1" in caplog.text
    assert SECRET not in caplog.text
    assert len(pauses) == 2


async def test_a_later_connection_of_the_pool_fails_with_a_connection_error(database: str) -> None:
    async with Proxy(database) as proxy:
        pool = await AsyncDatabaseManager.create_shared_pool(
            DatabaseConfig(connection_string=proxy.dsn, min_connections=1, max_connections=2)
        )
        db = AsyncDatabaseManager(pool=pool)
    with pytest.raises(ConnectionError):
        await db.fetch_value("SELECT 1")
    with pytest.raises(ConnectionError, match="Cannot connect"):
        async with db.acquire():
            pass
    pool.terminate()
