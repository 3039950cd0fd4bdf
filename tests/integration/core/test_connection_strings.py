"""What psql accepts as a connection string works here, or is refused with the parameter named."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg
import pytest

from pgdbm import AsyncDatabaseManager, ConfigurationError, ConnectionError, DatabaseConfig
from pgdbm.core import passfile
from pgdbm.core.hosts import Hosts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


def with_query(dsn: str, query: str) -> str:
    return urlunsplit(urlsplit(dsn)._replace(query=query))


async def value(dsn: str, query: str, **settings: Any) -> Any:
    settings = {"min_connections": 1, "retry_attempts": 1, **settings}
    async with AsyncDatabaseManager(DatabaseConfig(connection_string=dsn, **settings)) as db:
        return await db.fetch_value(query)


@pytest.mark.parametrize(
    "query",
    [
        "channel_binding=require",
        "channel_binding=disable",
        "connect_timeout=10",
        "connect_timeout=0",
        "gssencmode=prefer",
        "gssencmode=disable&sslmode=disable",
        "keepalives=1&keepalives_idle=30",
        "load_balance_hosts=random",
        "sslcompression=0&sslsni=1",
        "client_encoding=utf8",
        "min_protocol_version=3.0&max_protocol_version=latest",
        "target_session_attrs=read-write",
        "fallback_application_name=psql",
        "application_name=mine",
    ],
)
async def test_parameters_of_libpq(database: str, query: str) -> None:
    assert await value(with_query(database, query), "SELECT 1") == 1
    pool = await AsyncDatabaseManager.create_shared_pool(
        DatabaseConfig(connection_string=with_query(database, query), min_connections=1)
    )
    await pool.close()


async def test_application_names(database: str) -> None:
    show = "SHOW application_name"
    assert await value(with_query(database, "fallback_application_name=cli"), show) == "cli"
    assert await value(with_query(database, "fallback_application_name=cli&application_name=mine"), show) == "mine"
    assert await value(database, show) == "pgdbm"


async def test_options_win_over_the_defaults(database: str) -> None:
    dsn = with_query(database, "options=" + quote("-c statement_timeout=4321 --lock-timeout=99", safe=""))
    assert await value(dsn, "SHOW statement_timeout") == "4321ms"
    assert await value(dsn, "SHOW lock_timeout") == "99ms"


async def test_keyword_value_pairs(database: str) -> None:
    parts = urlsplit(database)
    dsn = (
        f"host={parts.hostname} port = {parts.port} user='{parts.username}' password='{parts.password}' "
        f"dbname={parts.path[1:]} application_name='two words'"
    )
    assert await value(dsn, "SHOW application_name") == "two words"


async def test_hostaddr(database: str) -> None:
    dsn = database.replace(urlsplit(database).hostname or "", "no-such-host.invalid")
    assert await value(with_query(dsn, "hostaddr=127.0.0.1"), "SELECT 1") == 1


async def test_what_is_neither_a_parameter_nor_a_setting(database: str) -> None:
    with pytest.raises(ConfigurationError, match="the server has no setting 'connnect_timeout'") as caught:
        await value(with_query(database, "connnect_timeout=10"), "SELECT 1", retry_attempts=3)
    assert caught.value.config_field == "connection_string"


@pytest.mark.parametrize("query", ["schema=public", "pgbouncer=true", "connection_limit=1"])
async def test_parameters_of_another_tool(database: str, query: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{query.partition('=')[0]} belongs to Prisma"):
        await value(with_query(database, query), "SELECT 1")


PASSWORDS = ["a/b", "a@b", "a#b", "a?b", "ab%cd", "a:b", "a b", "a+b", "p&q=r", "ü€", "%41", "[x]", "'\\"]


@contextlib.asynccontextmanager
async def role(dsn: str, password: str) -> AsyncIterator[str]:
    """A role that may log in; its name is the database's."""
    connection = await asyncpg.connect(dsn)
    name = urlsplit(dsn).path[1:]
    literal = password.replace("'", "''")
    await connection.execute(f"CREATE ROLE \"{name}\" LOGIN PASSWORD '{literal}'")
    try:
        yield name
    finally:
        await connection.execute(f'DROP ROLE "{name}"')
        await connection.close()


def as_user(dsn: str, name: str, password: str | None) -> str:
    parts = urlsplit(dsn)
    user = name if password is None else f"{name}:{password}"
    return urlunsplit(parts._replace(netloc=f"{user}@{parts.hostname}:{parts.port}"))


@pytest.mark.parametrize("password", PASSWORDS)
async def test_an_encoded_password(database: str, password: str) -> None:
    async with role(database, password) as name:
        dsn = as_user(database, name, quote(password, safe=""))
        assert await value(dsn, "SELECT current_user") == name


@pytest.mark.parametrize("password", ["a/b", "a@b", "ab%cd", "a%b"])
async def test_a_password_that_is_not_encoded(database: str, password: str) -> None:
    with pytest.raises(ConfigurationError, match="Percent-encode"):
        await value(as_user(database, "me", password), "SELECT 1")


@pytest.mark.parametrize("password", ["a#b", "a?b", "a+b", "[x]", "ü€", "a:b"])
async def test_a_password_that_psql_takes_as_it_is(database: str, password: str) -> None:
    async with role(database, password) as name:
        assert await value(as_user(database, name, password), "SELECT current_user") == name


async def test_a_password_with_a_percent_sequence(database: str) -> None:
    async with role(database, "%41") as name:
        with pytest.raises(ConnectionError, match="percent-encoded"):
            await value(as_user(database, name, "%41"), "SELECT 1")


class TestPasswordFile:
    @pytest.fixture
    def file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.delenv("PGPASSWORD", raising=False)
        passfile._warn.cache_clear()
        file = tmp_path / "pgpass"
        monkeypatch.setenv("PGPASSFILE", str(file))
        return file

    @pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o440])
    async def test_is_used(self, database: str, file: Path, mode: int) -> None:
        async with role(database, r"a:b\c") as name:
            file.write_text(f"# comment\n\nother:*:*:*:wrong\n*:*:*:{name}:a\\:b\\\\c\n*:*:*:*:later\n")
            file.chmod(mode)
            assert await value(as_user(database, name, None), "SELECT current_user") == name

    async def test_only_a_line_feed_ends_a_line(self, database: str, file: Path) -> None:
        async with role(database, "a\u2028b\x85c\x0bd") as name:
            file.write_text("*:*:*:*:a\u2028b\x85c\x0bd\r\n")
            file.chmod(0o600)
            assert await value(as_user(database, name, None), "SELECT current_user") == name

    async def test_the_parameter_names_another(self, database: str, file: Path, tmp_path: Path) -> None:
        other = tmp_path / "other"
        async with role(database, "secret") as name:
            file.write_text("*:*:*:*:wrong\n")
            file.chmod(0o600)
            other.write_text("*:*:*:*:secret\n")
            other.chmod(0o600)
            dsn = with_query(as_user(database, name, None), f"passfile={other}")
            assert await value(dsn, "SELECT current_user") == name

    @pytest.mark.parametrize("mode", [0o644, 0o660, 0o604])
    async def test_a_mode_that_is_too_open(
        self, database: str, file: Path, mode: int, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
    ) -> None:
        async with role(database, "secret") as name:
            file.write_text("*:*:*:*:secret\n")
            file.chmod(mode)
            with caplog.at_level(logging.WARNING), pytest.raises(ConnectionError) as caught:
                await value(as_user(database, name, None), "SELECT 1")
        assert f"{file} is ignored: its mode is {mode:04o}" in str(caught.value)
        assert f"{file} is ignored" in caplog.text
        assert "secret" not in str(caught.value)
        assert not recwarn.list

    async def test_is_read_for_every_connection(self, database: str, file: Path) -> None:
        async with role(database, "first") as name:
            file.write_text("*:*:*:*:first\n")
            file.chmod(0o600)
            config = DatabaseConfig(
                connection_string=as_user(database, name, None), min_connections=1, max_connections=2
            )
            pool = await AsyncDatabaseManager.create_shared_pool(config)
            try:
                owner = await asyncpg.connect(database)
                await owner.execute(f"ALTER ROLE \"{name}\" PASSWORD 'second'")
                await owner.close()
                file.write_text("*:*:*:*:second\n")
                async with pool.acquire() as one, pool.acquire() as other:
                    assert await one.fetchval("SELECT 1") == await other.fetchval("SELECT 1")
            finally:
                await pool.close()

    async def test_no_password_at_all(self, database: str, file: Path) -> None:
        assert not file.exists()
        async with role(database, "secret") as name:
            with pytest.raises(ConnectionError, match="Check the user, the password"):
                await value(as_user(database, name, None), "SELECT 1")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", (1, 30, 10, 3)),
        ("keepalives_idle=77&keepalives_interval=7&keepalives_count=5", (1, 77, 7, 5)),
        ("keepalives=0", (0, None, None, None)),
    ],
)
async def test_keepalives(database: str, query: str, expected: tuple[int | None, ...]) -> None:
    config = DatabaseConfig(connection_string=with_query(database, query), min_connections=1)
    async with AsyncDatabaseManager(config) as db, db.acquire() as connection:
        own: Any = connection._con._transport.get_extra_info("socket")
        assert own.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == expected[0]
        for option, seconds in zip(("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT"), expected[1:], strict=True):
            if seconds is not None:
                assert own.getsockopt(socket.IPPROTO_TCP, getattr(socket, option)) == seconds


async def test_connect_timeout() -> None:
    accepted: list[Any] = []
    server = await asyncio.start_server(lambda _, writer: accepted.append(writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    started = time.monotonic()
    try:
        with pytest.raises(ConnectionError, match="no answer within 1 s"):
            await value(f"postgresql://me:s@127.0.0.1:{port}/d?connect_timeout=1", "SELECT 1", connect_timeout=30)
    finally:
        for writer in accepted:
            writer.close()
        server.close()
    assert 0.9 < time.monotonic() - started < 10


async def test_load_balance_hosts() -> None:
    """Not the first host only."""

    async def attempt(host: str, _port: int, _seconds: float) -> str:
        return host

    hosts = Hosts((("a", 1), ("b", 2), ("c", 3)), None, shuffled=True)
    assert {await hosts.first(attempt, 1.0, (OSError,)) for _ in range(100)} == {"a", "b", "c"}
    in_order = Hosts((("a", 1), ("b", 2), ("c", 3)), None)
    assert {await in_order.first(attempt, 1.0, (OSError,)) for _ in range(100)} == {"a"}


async def test_a_service(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = urlsplit(database)
    file = tmp_path / "services"
    file.write_text(
        f"[shop]\nhost={parts.hostname}\nport={parts.port}\nuser={parts.username}\npassword={parts.password}\n"
        f"dbname={parts.path[1:]}\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    assert await value("postgresql:///?service=shop", "SELECT current_database()") == parts.path[1:]
    assert await value("service=shop application_name=x", "SHOW application_name") == "x"
    with pytest.raises(ConfigurationError, match=r"service: .*services has no section \[other\]"):
        await value("service=other", "SELECT 1")


async def test_variables_of_libpq(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c work_mem=9MB")
    monkeypatch.setenv("PGAPPNAME", "from the environment")
    async with AsyncDatabaseManager(DatabaseConfig(connection_string=database, min_connections=1)) as db:
        assert await db.fetch_value("SHOW work_mem") == "9MB"
        assert await db.fetch_value("SHOW application_name") == "from the environment"
