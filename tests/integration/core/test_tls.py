"""TLS with a server that requires it: what is verified, and the errors of a failed verification."""

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
from pgdbm.core import connecting
from pgdbm.testing.server import parent_folder

from ...support.programs import accepts_connections, free_port, log_of, run, running, system_postgres, until
from ...support.proxy import Proxy
from .certificates import CLIENT, Certificates

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

SECRET = "q7-open-sesame-q8"
KEY_PASSWORD = "q7-key-of-keys-q8"


@dataclass(frozen=True)
class Server:
    """A server that accepts only TLS, and from :data:`CLIENT` only a certificate."""

    port: int
    certificates: Certificates

    def config(self, **settings: Any) -> DatabaseConfig:
        """TLS is on, with the test's certificate authority, to ``localhost``; no pauses between attempts."""
        defaults: dict[str, Any] = {
            "host": "localhost", "port": self.port, "password": SECRET, "min_connections": 1,
            "ssl_enabled": True, "ssl_ca_file": self.certificates.authority, "retry_delay": 0,
        }  # fmt: skip
        return DatabaseConfig(**(defaults | settings))

    def dsn(self, query: str) -> str:
        return f"postgresql://postgres:{SECRET}@localhost:{self.port}/postgres?{query}"


@pytest.fixture(autouse=True)
def tls_where_the_server_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default mode, which the tests elsewhere override."""
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
    # It accepts connections before it has started.
    async with AsyncDatabaseManager(server.config(retry_attempts=50, retry_delay=0.1)) as db:
        await db.execute(f"CREATE ROLE {CLIENT} LOGIN")


async def present(server: Server, certificate: Path, key: Path) -> None:
    """Make the server present ``certificate`` from now on."""
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
    """A function that makes the server present another certificate; at the end it presents its own again."""

    async def become(certificate: Path, key: Path) -> None:
        await present(server, certificate, key)

    yield become
    await present(server, server.certificates.server, server.certificates.server_key)


async def encryption(config: DatabaseConfig) -> dict[str, Any] | None:
    """The server's view of the connection's TLS."""
    async with AsyncDatabaseManager(config) as db:
        return await db.fetch_one(
            "SELECT ssl, usename::text AS user, client_dn FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
            " WHERE pid = pg_backend_pid()"
        )


async def refusal(config: DatabaseConfig, *, first_attempt: bool = True) -> ConnectionError:
    """The error of connecting, with either kind of pool; ``first_attempt``: it is not retried."""
    for open_pool in (AsyncDatabaseManager(config).connect, partial(AsyncDatabaseManager.create_shared_pool, config)):
        with pytest.raises(ConnectionError) as caught:
            await open_pool()
        assert caught.value.details["attempts"] == 1 or not first_attempt
        assert_no_secret(caught.value)
    return caught.value


def assert_no_secret(error: BaseException) -> None:
    said = "".join(traceback.format_exception(error)) + repr(getattr(error, "details", None))
    assert SECRET not in said
    assert KEY_PASSWORD not in said


@pytest.mark.parametrize("mode", [None, "require", "verify-ca", "verify-full"])
async def test_every_mode_encrypts(server: Server, mode: str | None) -> None:
    assert await encryption(server.config(ssl_mode=mode)) == {"ssl": True, "user": "postgres", "client_dn": None}


async def test_migrations_run_over_tls(server: Server) -> None:
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
async def test_a_certificate_of_another_authority_is_refused(server: Server, mode: str) -> None:
    for authority in (server.certificates.other_authority, None):
        error = await refusal(server.config(ssl_mode=mode, ssl_ca_file=authority))
        assert "certificate verify failed" in str(error)
        assert "set ssl_ca_file to that authority's certificate" in str(error)


async def test_require_does_not_verify_the_certificate(server: Server, impostor: Any) -> None:
    await impostor(server.certificates.expired, server.certificates.expired_key)
    config = server.config(ssl_mode="require", host="127.0.0.1", ssl_ca_file=server.certificates.other_authority)
    assert (await encryption(config) or {})["ssl"] is True


async def test_a_certificate_for_another_host_name_is_refused(server: Server, impostor: Any) -> None:
    await impostor(server.certificates.elsewhere, server.certificates.elsewhere_key)
    for host in ("localhost", "127.0.0.1"):
        error = await refusal(server.config(host=host))
        assert "is for another host name" in str(error)
        assert "ssl_mode='verify-ca'" in str(error)
        assert await encryption(server.config(host=host, ssl_mode="verify-ca"))


async def test_an_expired_certificate_is_refused(server: Server, impostor: Any) -> None:
    await impostor(server.certificates.expired, server.certificates.expired_key)
    for mode in ("verify-ca", "verify-full"):
        error = await refusal(server.config(ssl_mode=mode))
        assert "certificate has expired" in str(error)
        assert "renew it" in str(error)


async def test_a_client_certificate_replaces_the_password(server: Server) -> None:
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
async def test_a_key_with_a_wrong_password_is_a_configuration_error(server: Server, key_password: str | None) -> None:
    config = server.config(
        user=CLIENT, ssl_cert_file=server.certificates.client,
        ssl_key_file=server.certificates.client_encrypted_key, ssl_key_password=key_password,
    )  # fmt: skip
    for open_pool in (AsyncDatabaseManager(config).connect, partial(AsyncDatabaseManager.create_shared_pool, config)):
        with pytest.raises(ConfigurationError, match="is ssl_key_password correct") as caught:
            await open_pool()
        assert caught.value.config_field == "ssl_cert_file"
        assert_no_secret(caught.value)


async def test_a_key_of_another_certificate_is_a_configuration_error(server: Server) -> None:
    config = server.config(
        ssl_cert_file=server.certificates.client, ssl_key_file=server.certificates.untrusted_key,
        ssl_key_password=KEY_PASSWORD,
    )  # fmt: skip
    with pytest.raises(ConfigurationError, match="do not load as a certificate and its key") as caught:
        await AsyncDatabaseManager(config).connect()
    assert_no_secret(caught.value)


async def test_sslrootcert_system_uses_the_certificates_of_the_system(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSL reads the system's certificates from SSL_CERT_FILE."""
    config = DatabaseConfig(
        connection_string=server.dsn("sslmode=verify-full&sslrootcert=system"), min_connections=1, retry_attempts=1
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(server.certificates.authority))
    assert (await encryption(config) or {})["ssl"] is True
    monkeypatch.setenv("SSL_CERT_FILE", str(server.certificates.other_authority))
    assert "certificate verify failed" in str(await refusal(config))


async def test_a_host_name_is_verified_with_the_authorities_of_the_system(
    server: Server, impostor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await impostor(server.certificates.elsewhere, server.certificates.elsewhere_key)
    monkeypatch.setenv("SSL_CERT_FILE", str(server.certificates.authority))
    config = DatabaseConfig(connection_string=server.dsn("sslmode=verify-full&sslrootcert=system"), min_connections=1)
    assert "is for another host name" in str(await refusal(config))


async def test_channel_binding(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """The default string of a hosted PostgreSQL."""
    config = DatabaseConfig(connection_string=server.dsn("sslmode=require&channel_binding=require"), min_connections=1)
    connecting._warn_of_ignored.cache_clear()
    assert (await encryption(config) or {})["ssl"] is True
    assert [record.getMessage() for record in caplog.records] == [
        "The parameter channel_binding of the connection string is ignored: asyncpg does not support it."
    ]


async def test_a_client_without_a_certificate_is_refused(server: Server) -> None:
    error = await refusal(server.config(user=CLIENT))
    assert "check ssl_cert_file and ssl_key_file" in str(error)


async def test_a_client_certificate_for_another_user_is_refused(server: Server) -> None:
    async with AsyncDatabaseManager(server.config()) as db:
        await db.execute("CREATE ROLE other_user LOGIN")
    config = server.config(
        user=CLIENT, database="postgres",
        ssl_cert_file=server.certificates.untrusted, ssl_key_file=server.certificates.untrusted_key,
    )  # fmt: skip
    # The server sends the reason and closes; where both arrive together, only the second may be seen.
    error = await refusal(config, first_attempt=False)
    assert "ssl_cert_file" in str(error)


async def test_a_server_that_requires_tls_refuses_a_plain_connection(server: Server) -> None:
    error = await refusal(DatabaseConfig(connection_string=server.dsn("sslmode=disable"), min_connections=1))
    assert "set ssl_enabled=True" in str(error)
    # By default asyncpg encrypts if the server can, without verification.
    assert (await encryption(server.config(ssl_enabled=False)) or {})["ssl"] is True


async def test_a_server_without_tls_is_refused_where_it_is_required(database: str) -> None:
    # The proxy refuses TLS, whatever the server behind it supports.
    async with Proxy(database) as proxy:
        config = DatabaseConfig(connection_string=proxy.dsn, min_connections=1, ssl_enabled=True, ssl_mode="require")
        error = await refusal(config)
        assert "The server does not use TLS" in str(error)
        assert proxy.accepted == 2


async def test_tls_parameters_of_the_connection_string_are_used(server: Server, tmp_path: Path) -> None:
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


async def test_the_key_password_of_the_connection_string_is_used(server: Server) -> None:
    def config(password: str) -> DatabaseConfig:
        cert, key = server.certificates.client, server.certificates.client_encrypted_key
        query = f"user={CLIENT}&sslmode=require&sslcert={cert}&sslkey={key}&sslpassword={password}"
        dsn = f"postgresql://localhost:{server.port}/postgres?{query}"
        return DatabaseConfig(connection_string=dsn, min_connections=1, retry_delay=0)

    assert (await encryption(config(KEY_PASSWORD)) or {})["user"] == CLIENT
    error = await refusal(config(f"not-{KEY_PASSWORD}"))
    assert KEY_PASSWORD not in repr(config(KEY_PASSWORD))
    assert "TLS" in str(error)
