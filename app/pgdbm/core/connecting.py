"""One connection to the server: how it is opened, kept alive, and what is said when that fails."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg

from ..errors import ConfigurationError, ConnectionError
from . import dsn
from .hosts import hosts_of

if TYPE_CHECKING:
    from .config import DatabaseConfig

# What a retry can cure, unless `is_worth_retrying` knows better. A wrong password or a database that does not exist it
# cannot.
UNREACHABLE = (
    OSError,
    TimeoutError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.PostgresConnectionError,
    # A failover is under way, for one.
    asyncpg.TargetServerAttributeNotMatched,
)

_IDLE_S = 30
_INTERVAL_S = 10
_PROBES = 3

# OpenSSL's numbers of what can be wrong with a certificate.
_EXPIRED = (9, 10)
_OTHER_NAME = (62, 64)
_NO_TLS = "rejected SSL upgrade"
_NOT_PASSED_ON = "unsupported startup parameter"
_WITHOUT_TLS = ("no encryption", "SSL off")


def connect_options(config: DatabaseConfig, server_settings: dict[str, str]) -> dict[str, Any]:
    """What :func:`connect` takes beside the connection string."""
    options: dict[str, Any] = {
        "timeout": config.connect_timeout,
        "command_timeout": config.command_timeout,
        "statement_cache_size": config.statement_cache_size,
        "server_settings": server_settings,
    }
    ssl_context = config.build_ssl_context()
    if ssl_context is not None:
        options["ssl"] = ssl_context
    return options


async def connect(*args: Any, **options: Any) -> Any:
    """asyncpg.connect, for a connection string and what :func:`connect_options` gives, with TCP keepalives.

    Its TimeoutError has an errno, as the system's own have: that tells it from the timeout of a query.
    """
    (address,) = args
    hosts = hosts_of(address)
    if not hosts.are_several:
        return await _connect(address, **options)

    async def attempt(host: str, port: int, seconds: float) -> Any:
        return await _connect(address, **options | {"host": host, "port": port, "timeout": seconds})

    return await hosts.first(attempt, options["timeout"], UNREACHABLE)


async def _connect(address: str, **options: Any) -> Any:
    try:
        connection = await asyncpg.connect(address, **options)
    except TimeoutError as error:
        if error.errno is not None:
            raise
        raise TimeoutError(errno.ETIMEDOUT, f"no answer within {options['timeout']:g} s") from error
    except asyncpg.ConnectionDoesNotExistError as error:
        # Since TLS 1.3 a client's certificate is refused after the handshake.
        if isinstance(error.__cause__, ssl.SSLError):
            raise error.__cause__ from error
        raise
    keep_alive(connection)
    return connection


def keep_alive(connection: Any) -> None:
    """Let the kernel find out, within about a minute, that the other side of a silent connection is gone.

    Without it, what waits for an answer of a host that vanished waits for ever. TCP_USER_TIMEOUT is left alone: it
    would also end connections to a server that lives, but takes its time to read.
    """
    transport = getattr(connection, "_transport", None)
    transport_socket = transport.get_extra_info("socket") if transport is not None else None
    if transport_socket is None or transport_socket.family not in (socket.AF_INET, socket.AF_INET6):
        return
    # A second descriptor of the same socket, since what uvloop hands out cannot set options.
    with socket.socket(fileno=os.dup(transport_socket.fileno())) as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", _IDLE_S), ("TCP_KEEPINTVL", _INTERVAL_S), ("TCP_KEEPCNT", _PROBES)):
            if hasattr(socket, name):
                own.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


async def run_init_commands(config: DatabaseConfig, connection: Any) -> None:
    """Run the config's ``init_commands``.

    Raises:
        ConfigurationError: one of them failed; says which.
    """
    for number, command in enumerate(config.init_commands or (), 1):
        try:
            await connection.execute(command)
        except asyncpg.PostgresError as error:
            if isinstance(error, UNREACHABLE):
                raise
            raise ConfigurationError(f"Number {number} of init_commands failed: {error}", "init_commands") from error


def check_files(connection_string: str, field: str) -> None:
    """Raise ConfigurationError if a file that the string names is not there: asyncpg's error would not say which."""
    for name, path in dsn.files_in(connection_string).items():
        if path and not Path(path).is_file():
            raise ConfigurationError(f"{field}: {name}: there is no file {path!r}.", field)


def is_worth_retrying(error: BaseException) -> bool:
    """Whether the next attempt to connect may succeed where this one failed."""
    if isinstance(error, ssl.SSLError):
        return isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)
    return isinstance(error, UNREACHABLE) and not any(words in str(error) for words in (_NO_TLS, _NOT_PASSED_ON))


def connection_error(masked_dsn: str | None, error: BaseException, attempts: int = 1) -> ConnectionError:
    """The ConnectionError for ``error``, saying where to and what to look at; without the password."""
    host, port, database = dsn.target(masked_dsn) if masked_dsn is not None else ("?", "?", "?")
    return ConnectionError(
        f"Cannot connect to database {database!r} on {host}:{port} after {attempts} "
        f"attempt{'' if attempts == 1 else 's'}: {error or type(error).__name__}\n{_advice(error)}",
        details={
            "host": host,
            "port": port,
            "database": database,
            "attempts": attempts,
            "error_type": type(error).__name__,
        },
    )


def _advice(error: BaseException) -> str:
    if isinstance(error, ssl.SSLError) or _NO_TLS in str(error):
        return _tls_advice(error)
    if _NOT_PASSED_ON in str(error):
        return (
            "The pooler refuses start-up settings. In PgBouncer name them in ignore_startup_parameters = jit, "
            "statement_timeout, lock_timeout, idle_in_transaction_session_timeout, search_path; what it drops can be "
            "set on the server, with ALTER ROLE ... SET."
        )
    if isinstance(error, asyncpg.InvalidPasswordError | asyncpg.InvalidAuthorizationSpecificationError):
        if any(words in str(error) for words in _WITHOUT_TLS):
            return (
                "If the server takes TLS only: set ssl_enabled=True, and no sslmode=disable in the connection string."
            )
        if "certificate" in str(error):
            return (
                "Check ssl_cert_file and ssl_key_file: the server wants a client certificate, from an authority that "
                "it trusts, for this user."
            )
        return "Check user and password, and the server's pg_hba.conf."
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return "The server answers, but has no such database: check the name, or create it with createdb."
    if isinstance(error, asyncpg.TooManyConnectionsError):
        return "The server has no connection left: lower max_connections here or share one pool between services."
    if isinstance(error, asyncpg.ConnectionDoesNotExistError | ConnectionResetError):
        return (
            "The server, or what is in front of it, hung up: its log says why. A client certificate that it does not "
            "trust can be the reason: check ssl_cert_file and ssl_key_file."
        )
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return (
            "None of the hosts is what target_session_attrs in the connection string asks for: a failover may be under "
            "way, or one of the hosts is missing in the string."
        )
    if isinstance(error, asyncpg.CannotConnectNowError):
        return "The server is starting up or shutting down: try again in a moment."
    return "Check that PostgreSQL is running, that host and port are right, and that no firewall is in between."


def _tls_advice(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _EXPIRED:
            return "The server's certificate is not valid at this time: renew it, or set this machine's clock."
        if error.verify_code in _OTHER_NAME:
            return (
                "The server's certificate is for another host name: connect by a name that it has, or choose "
                "ssl_mode='verify-ca' to leave the name unchecked."
            )
        return (
            "The server's certificate is not from an authority that is trusted here: set ssl_ca_file to the "
            "certificate of the authority that it is from."
        )
    if _NO_TLS in str(error):
        return "The server has no TLS: turn it on there (ssl = on), or do without: ssl_enabled=False."
    return (
        "The TLS handshake failed: check that ssl_cert_file and ssl_key_file are from an authority that the server "
        "trusts, and that both sides have a TLS version in common."
    )
