"""TLS, against a server that takes nothing else: what is checked, and what is said when a check fails."""

from __future__ import annotations

import asyncio
import tempfile
import traceback
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, ConfigurationError, ConnectionError, DatabaseConfig
from pgdbm.testing.server import parent_folder

from .certificates import CLIENT, Certificates
from .programs import accepts_connections, free_port, log_of, run, running, system_postgres, until
from .proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

SECRET = "q7-open-sesame-q8"
KEY_PASSWORD = "q7-key-of-keys-q8"


@dataclass(frozen=True)
class Server:
    """A server that takes TLS only, and from :data:`CLIENT` a certificate only."""

    port: int
    certificates: Certificates

    def config(self, **settings: Any) -> DatabaseConfig:
        """TLS on, with our authority, to ``localhost``; no pauses between attempts."""
        defaults: dict[str, Any] = {
            "host": "localhost", "port": self.port, "password": SECRET, "min_connections": 1,
            "ssl_enabled": True, "ssl_ca_file": self.certificates.authority, "retry_delay": 0,
        }  # fmt: skip
        return DatabaseConfig(**(defaults | settings))

    def dsn(self, query: str) -> str:
        return f"postgresql://postgres:{SECRET}@localhost:{self.port}/postgres?{query}"


@pytest.fixture(autouse=True)
def tls_where_the_server_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default, which the other tests do without."""
    monkeypatch.delenv("PGSSLMODE", raising=False)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    binaries = system_postgres()
    with tempfile.TemporaryDirectory(prefix="pgdbm-tls-", dir=parent_folder()) as scratch:
        folder = Path(scratch) / "server"
        folder.mkdir(mode=0o700)
        certificates = Certificates(folder, KEY_PASSWORD)
        (folder / "password").write_text(SECRET)
        (folder / "hba").write_text(
            f"hostssl all {CLIENT} 127.0.0.1/32 cert\nhostssl all all 127.0.0.1/32 scram-sha-256\n"
        )
        data = folder / "data"
        run(
            folder, binaries / "initdb", f"--pgdata={data}", "--username=postgres", f"--pwfile={folder / 'password'}",
            "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync",
        )  # fmt: skip
        port = free_port()
        settings = {
            "listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "fsync": "off",
            "hba_file": folder / "hba", "ssl": "on", "ssl_ca_file": certificates.authority,
        }  # fmt: skip
        (data / "postgresql.auto.conf").write_text(
            f"ssl_cert_file = '{certificates.server}'\nssl_key_file = '{certificates.server_key}'\n"
        )
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with running(folder, binaries / "postgres", "-D", str(data), *arguments) as process:
            try:
                until(lambda: accepts_connections(port), process, folder)
            except AssertionError:
                if "SSL is not supported by this build" in log_of(folder):
                    pytest.skip(f"{binaries / 'postgres'} is built without TLS")
                raise
            server = Server(port, certificates)
            asyncio.run(create_client(server))
            yield server


async def create_client(server: Server) -> None:
    async with AsyncDatabaseManager(server.config()) as db:
        await db.execute(f"CREATE ROLE {CLIENT} LOGIN")


async def present(server: Server, certificate: Path, key: Path) -> None:
    """Let the server show ``certificate`` from now on."""
    async with AsyncDatabaseManager(server.config(ssl_mode="require")) as db:
        await db.execute(f"ALTER SYSTEM SET ssl_cert_file = '{certificate}'")
        await db.execute(f"ALTER SYSTEM SET ssl_key_file = '{key}'")
        await db.execute("SELECT pg_reload_conf()")
    while True:
        async with AsyncDatabaseManager(server.config(ssl_mode="require")) as db:
            if await db.fetch_value("SHOW ssl_cert_file") == str(certificate):
                return


@pytest.fixture
async def impostor(server: Server) -> AsyncIterator[Any]:
    """Call it to let the server show another certificate; it shows its own again at the end."""

    async def become(certificate: Path, key: Path) -> None:
        await present(server, certificate, key)

    yield become
    await present(server, server.certificates.server, server.certificates.server_key)


async def encryption(config: DatabaseConfig) -> dict[str, Any] | None:
    """What the server knows of the TLS of our connection."""
    async with AsyncDatabaseManager(config) as db:
        return await db.fetch_one(
            "SELECT ssl, usename::text AS user, client_dn FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
            " WHERE pid = pg_backend_pid()"
        )


async def refusal(config: DatabaseConfig, *, at_once: bool = True) -> ConnectionError:
    """The error of connecting, both ways: without a secret, and ``at_once`` without a second attempt."""
    for open_pool in (AsyncDatabaseManager(config).connect, partial(AsyncDatabaseManager.create_shared_pool, config)):
        with pytest.raises(ConnectionError) as caught:
            await open_pool()
        assert caught.value.details["attempts"] == 1 or not at_once
        assert_no_secret(caught.value)
    return caught.value


def assert_no_secret(error: BaseException) -> None:
    said = "".join(traceback.format_exception(error)) + repr(getattr(error, "details", None))
    assert SECRET not in said
    assert KEY_PASSWORD not in said


@pytest.mark.parametrize("mode", [None, "require", "verify-ca", "verify-full"])
async def test_every_mode_encrypts(server: Server, mode: str | None) -> None:
    assert await encryption(server.config(ssl_mode=mode)) == {"ssl": True, "user": "postgres", "client_dn": None}


async def test_migrations_travel_through_it(server: Server) -> None:
    config = server.config(schema="tls", direct_connection_string=server.dsn("x=").removesuffix("?x="))
    async with AsyncDatabaseManager(config) as db:
        files = {
            "001.sql": "CREATE TABLE {{tables.t}} (id int)",
            "002.sql": "-- pgdbm:no-transaction\nVACUUM {{tables.t}}",
        }
        assert (await AsyncMigrationManager(db, files, "m").apply_pending_migrations())["status"] == "success"
        async with db.acquire_direct() as connection:
            assert await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") is True


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
async def test_an_authority_that_is_not_the_servers(server: Server, mode: str) -> None:
    for authority in (server.certificates.other_authority, None):
        error = await refusal(server.config(ssl_mode=mode, ssl_ca_file=authority))
        assert "certificate verify failed" in str(error)
        assert "set ssl_ca_file to the certificate of the authority" in str(error)


async def test_require_checks_nothing(server: Server, impostor: Any) -> None:
    await impostor(server.certificates.expired, server.certificates.expired_key)
    config = server.config(ssl_mode="require", host="127.0.0.1", ssl_ca_file=server.certificates.other_authority)
    assert (await encryption(config) or {})["ssl"] is True


async def test_another_host_name(server: Server, impostor: Any) -> None:
    await impostor(server.certificates.elsewhere, server.certificates.elsewhere_key)
    for host in ("localhost", "127.0.0.1"):
        error = await refusal(server.config(host=host))
        assert "is for another host name" in str(error)
        assert "ssl_mode='verify-ca'" in str(error)
        assert await encryption(server.config(host=host, ssl_mode="verify-ca"))


async def test_a_certificate_that_expired(server: Server, impostor: Any) -> None:
    await impostor(server.certificates.expired, server.certificates.expired_key)
    for mode in ("verify-ca", "verify-full"):
        error = await refusal(server.config(ssl_mode=mode))
        assert "certificate has expired" in str(error)
        assert "renew it" in str(error)


async def test_a_client_certificate_instead_of_a_password(server: Server) -> None:
    certificates = server.certificates
    for key, key_password in ((certificates.client_key, None), (certificates.client_encrypted_key, KEY_PASSWORD)):
        config = server.config(
            user=CLIENT, password="", database="postgres",
            ssl_cert_file=certificates.client, ssl_key_file=key, ssl_key_password=key_password,
        )  # fmt: skip
        found = await encryption(config)
        assert found is not None
        assert (found["user"], CLIENT in found["client_dn"]) == (CLIENT, True)


@pytest.mark.parametrize("key_password", ["not the password", "", None])
async def test_a_key_that_does_not_open(server: Server, key_password: str | None) -> None:
    config = server.config(
        user=CLIENT, ssl_cert_file=server.certificates.client,
        ssl_key_file=server.certificates.client_encrypted_key, ssl_key_password=key_password,
    )  # fmt: skip
    for open_pool in (AsyncDatabaseManager(config).connect, partial(AsyncDatabaseManager.create_shared_pool, config)):
        with pytest.raises(ConfigurationError, match="is ssl_key_password right") as caught:
            await open_pool()
        assert caught.value.config_field == "ssl_cert_file"
        assert_no_secret(caught.value)


async def test_a_key_of_another_certificate(server: Server) -> None:
    config = server.config(
        ssl_cert_file=server.certificates.client, ssl_key_file=server.certificates.stranger_key,
        ssl_key_password=KEY_PASSWORD,
    )  # fmt: skip
    with pytest.raises(ConfigurationError, match="do not load as a certificate and its key") as caught:
        await AsyncDatabaseManager(config).connect()
    assert_no_secret(caught.value)


async def test_a_client_without_a_certificate(server: Server) -> None:
    error = await refusal(server.config(user=CLIENT))
    assert "Check ssl_cert_file and ssl_key_file" in str(error)


async def test_a_client_certificate_for_somebody_else(server: Server) -> None:
    async with AsyncDatabaseManager(server.config()) as db:
        await db.execute("CREATE ROLE somebody LOGIN")
    config = server.config(
        user=CLIENT, database="postgres",
        ssl_cert_file=server.certificates.stranger, ssl_key_file=server.certificates.stranger_key,
    )  # fmt: skip
    # The server says why and hangs up; where both arrive at once, only the second may be seen.
    error = await refusal(config, at_once=False)
    assert "ssl_cert_file and ssl_key_file" in str(error)


async def test_no_tls_to_a_server_that_takes_nothing_else(server: Server) -> None:
    error = await refusal(DatabaseConfig(connection_string=server.dsn("sslmode=disable"), min_connections=1))
    assert "set ssl_enabled=True" in str(error)
    # Left alone, asyncpg encrypts where it can, and checks nothing.
    assert (await encryption(server.config(ssl_enabled=False)) or {})["ssl"] is True


async def test_tls_to_a_server_without_it(database: str) -> None:
    # The proxy declines, whatever the server behind it can do.
    async with Proxy(database) as proxy:
        config = DatabaseConfig(connection_string=proxy.dsn, min_connections=1, ssl_enabled=True, ssl_mode="require")
        error = await refusal(config)
        assert "The server has no TLS" in str(error)
        assert proxy.accepted == 2


async def test_tls_in_the_connection_string(server: Server, tmp_path: Path) -> None:
    authority = server.certificates.authority
    for mode in ("require", "verify-ca", "verify-full"):
        config = DatabaseConfig(
            connection_string=server.dsn(f"sslmode={mode}&sslrootcert={authority}"), min_connections=1
        )
        assert (await encryption(config) or {})["ssl"] is True
    other = server.certificates.other_authority
    error = await refusal(DatabaseConfig(connection_string=server.dsn(f"sslmode=verify-full&sslrootcert={other}")))
    assert "set ssl_ca_file" in str(error)
    missing = DatabaseConfig(connection_string=server.dsn(f"sslmode=verify-full&sslrootcert={tmp_path / 'none'}"))
    with pytest.raises(ConfigurationError, match="sslrootcert: there is no file") as caught:
        await AsyncDatabaseManager(missing).connect()
    assert_no_secret(caught.value)


async def test_the_key_password_in_the_connection_string(server: Server) -> None:
    def config(password: str) -> DatabaseConfig:
        cert, key = server.certificates.client, server.certificates.client_encrypted_key
        query = f"user={CLIENT}&sslmode=require&sslcert={cert}&sslkey={key}&sslpassword={password}"
        dsn = f"postgresql://localhost:{server.port}/postgres?{query}"
        return DatabaseConfig(connection_string=dsn, min_connections=1, retry_delay=0)

    assert (await encryption(config(KEY_PASSWORD)) or {})["user"] == CLIENT
    error = await refusal(config(f"not-{KEY_PASSWORD}"))
    assert KEY_PASSWORD not in repr(config(KEY_PASSWORD))
    assert "TLS" in str(error)
