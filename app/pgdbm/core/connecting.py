"""Opening one connection: its options, its keepalives, and the error when that fails."""

from __future__ import annotations

import errno
import getpass
import logging
import os
import socket
import ssl
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import asyncpg

from ..dsn import ConnectionString, parse_dsn, target
from ..dsn.parse import DEFAULT_PORT
from ..errors import ConfigurationError, ConnectionError
from ..errors.general import CHECK_SERVER
from ..text import error_text
from . import passfile
from .asyncpg_errors import (
    UNREACHABLE,
    is_certificate_required,
    is_startup_setting_refused,
    is_tls_required,
    server_has_no_tls,
)
from .hosts import hosts_of

if TYPE_CHECKING:
    from .config import DatabaseConfig
    from .connection import Connection

logger = logging.getLogger("pgdbm")

# Default TCP keepalives: a dead peer is noticed after about a minute.
_KEEPALIVES = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
_SOCKET_OPTIONS = {
    "keepalives_idle": "TCP_KEEPIDLE",
    "keepalives_interval": "TCP_KEEPINTVL",
    "keepalives_count": "TCP_KEEPCNT",
    "tcp_user_timeout": "TCP_USER_TIMEOUT",
}
_UNLIMITED_S = 24 * 3600.0

# asyncpg's default is 15 K. Long statements, such as the listing of a schema, take five times as long to plan as to
# run.
_LONGEST_PREPARED = 32 * 1024

# OpenSSL's verification errors.
_EXPIRED = (9, 10)
_HOST_MISMATCH = (62, 64)


def connect_options(config: DatabaseConfig, server_settings: dict[str, str]) -> dict[str, Any]:
    """The options of :func:`connect`, besides the connection string."""
    options: dict[str, Any] = {
        "timeout": config.connect_timeout,
        "command_timeout": config.command_timeout,
        "statement_cache_size": config.statement_cache_size,
        "max_cached_statement_lifetime": config.max_cached_statement_lifetime,
        "max_cacheable_statement_size": _LONGEST_PREPARED,
        "server_settings": server_settings,
    }
    if config.password_file is not None:
        options["password"] = partial(passfile.password_of, Path(config.password_file))
    ssl_context = config.build_ssl_context()
    if ssl_context is not None:
        options["ssl"] = ssl_context
    return options


async def connect(*args: Any, **options: Any) -> asyncpg.Connection[asyncpg.Record]:
    """``asyncpg.connect`` for what libpq accepts as a connection string, with TCP keepalives.

    ``connect_timeout`` in the string replaces ``timeout``. A TimeoutError has an errno, like those of the operating
    system, which distinguishes it from the timeout of a query.

    Raises:
        ConfigurationError: the string is malformed, or requests something that is not supported.
    """
    (address,) = args
    parsed = parse_dsn(address)
    _warn_of_ignored(parsed.warnings)
    has_password = options.get("password") is not None
    options |= _asyncpg_options(parsed, options)
    hosts = hosts_of(address)
    if not hosts.are_several:
        return await _connect(parsed, options)

    async def attempt(host: str, port: int, seconds: float) -> asyncpg.Connection[asyncpg.Record]:
        only = {"host": [host], "port": [port], "timeout": seconds}
        if not has_password:
            only["password"] = _password(parsed, ((host, port),))
        return await _connect(parsed, options | only)

    return await hosts.first(attempt, options["timeout"], UNREACHABLE)


def _asyncpg_options(parsed: ConnectionString, options: dict[str, Any]) -> dict[str, Any]:
    """``parsed`` as keyword arguments of asyncpg.connect, which does not decode them a second time."""
    given = parsed.parameters
    found: dict[str, Any] = {
        "user": given.get("user"),
        "database": given.get("dbname"),
        "password": options.get("password") or _password(parsed, parsed.hosts),
        "target_session_attrs": given.get("target_session_attrs"),
        "krbsrvname": given.get("krbsrvname"),
        "gsslib": given.get("gsslib"),
        "server_settings": {**parsed.server_settings, **(options.get("server_settings") or {})},
    }
    if parsed.hosts:
        found["host"], found["port"] = map(list, zip(*parsed.hosts, strict=True))
    elif "port" in given:
        found["port"] = int(given["port"])
    seconds = parsed.number("connect_timeout")
    if seconds is not None:
        # libpq's value is per host; a value below 1 means no limit.
        found["timeout"] = float(seconds) * max(len(parsed.hosts), 1) if seconds > 0 else _UNLIMITED_S
    # asyncpg accepts these only in a URL.
    in_url = {name: given[name] for name in ("service", "passfile") if name in given}
    if parsed.uses_system_roots and "ssl" not in options:
        found["ssl"] = _system_roots(parsed)
    else:
        in_url |= parsed.tls
    found["dsn"] = "postgresql://" + (f"?{urlencode(in_url, quote_via=quote)}" if in_url else "")
    return found


def _system_roots(parsed: ConnectionString) -> ssl.SSLContext:
    """sslrootcert=system: certificates and host names are verified against the authorities of the system."""
    context = ssl.create_default_context()
    given = parsed.parameters
    if "sslcert" in given:
        context.load_cert_chain(given["sslcert"], given.get("sslkey"), given.get("sslpassword", ""))
    for name, attribute in (
        ("ssl_min_protocol_version", "minimum_version"),
        ("ssl_max_protocol_version", "maximum_version"),
    ):
        if name in given:
            setattr(context, attribute, ssl.TLSVersion[given[name].replace(".", "_")])
    return context


def _password(parsed: ConnectionString, hosts: tuple[tuple[str, int], ...]) -> Any:
    """The password; None if there is none, or it is in the service file. The callable reads the password file."""
    given = parsed.parameters
    password = given.get("password") or os.environ.get("PGPASSWORD")
    if password or "service" in given:
        return password
    file = password_file(parsed)
    user = given.get("user") or os.environ.get("PGUSER") or getpass.getuser()
    places = hosts or ((os.environ.get("PGHOST") or "localhost", DEFAULT_PORT),)
    return partial(passfile.password_in, file, places, parsed.database or user, user)


def password_file(parsed: ConnectionString) -> Path:
    """The file with the passwords: ``passfile``, else PGPASSFILE, else ``~/.pgpass``."""
    return Path(parsed.parameters.get("passfile") or os.environ.get("PGPASSFILE") or Path("~/.pgpass").expanduser())


async def _connect(parsed: ConnectionString, options: dict[str, Any]) -> asyncpg.Connection[asyncpg.Record]:
    try:
        connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(**options)
    except TimeoutError as error:
        if error.errno is not None:
            raise
        raise TimeoutError(errno.ETIMEDOUT, f"no answer within {options['timeout']:g} s") from error
    except asyncpg.ConnectionDoesNotExistError as error:
        # Since TLS 1.3 a server rejects the client's certificate after the handshake.
        if isinstance(error.__cause__, ssl.SSLError):
            raise error.__cause__ from error
        raise
    except asyncpg.InvalidPasswordError as error:
        reads_passfile = getattr(options["password"], "func", None) is passfile.password_in
        reason = passfile.why_ignored(password_file(parsed)) if reads_passfile else None
        if reason is not None:
            error.add_note(f"The password file {password_file(parsed)} is ignored: {reason}")
        raise
    try:
        keep_alive(connection, parsed)
    except BaseException:
        connection.terminate()
        raise
    return connection


def keep_alive(connection: Connection, parsed: ConnectionString) -> None:
    """Set the TCP keepalives that the connection string specifies, by default about a minute.

    Without them, a query whose server vanished would wait for its answer for hours. TCP_USER_TIMEOUT is set only on
    request: it also closes connections to a server that is alive but slow to read.

    Raises:
        ConfigurationError: the operating system does not accept a value.
    """
    # asyncpg has no public access to the socket.
    transport = getattr(connection, "_transport", None)
    transport_socket = transport.get_extra_info("socket") if transport is not None else None
    if transport_socket is None or transport_socket.family not in (socket.AF_INET, socket.AF_INET6):
        return
    enabled = parsed.parameters.get("keepalives") != "0"
    # A duplicate of the descriptor, since uvloop's socket objects cannot set options.
    with socket.socket(fileno=os.dup(transport_socket.fileno())) as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(enabled))
        for name, option in _SOCKET_OPTIONS.items():
            value = parsed.number(name)
            if value is None and enabled:
                value = _KEEPALIVES.get(name)
            # 0 is the system's default.
            if value and value > 0 and hasattr(socket, option):
                try:
                    own.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
                except (OSError, OverflowError) as error:
                    raise ConfigurationError(
                        f"connection_string: the operating system does not accept {name}={value}.", "connection_string"
                    ) from error


async def run_init_commands(config: DatabaseConfig, connection: Connection) -> None:
    """Run the ``init_commands`` of the config.

    Raises:
        ConfigurationError: one of them failed; the message has its number.
    """
    for number, command in enumerate(config.init_commands or (), 1):
        try:
            await connection.execute(command)
        except asyncpg.PostgresError as error:
            if isinstance(error, UNREACHABLE):
                raise
            raise ConfigurationError(f"init_commands: command {number} failed: {error}", "init_commands") from error


def check_dsn(dsn: str, field: str) -> None:
    """Check a connection string before it is used.

    Raises:
        ConfigurationError: it is malformed, requests something that is not supported, or a file that it names does not
            exist.
    """
    parsed = parse_dsn(dsn, field)
    for name, path in parsed.files.items():
        if not Path(path).is_file():
            raise ConfigurationError(f"{field}: {name}: there is no file {path!r}.", field)
    service = parsed.parameters.get("service")
    if service is not None:
        _check_service(service, field)


def _check_service(service: str, field: str) -> None:
    """asyncpg ignores a service that does not exist, and connects to its default server."""
    file = Path(os.environ.get("PGSERVICEFILE") or Path("~/.pg_service.conf").expanduser())
    services = ConfigParser(interpolation=None)
    try:
        services.read(file)
    except ConfigParserError as error:
        raise ConfigurationError(f"{field}: service: {file} is invalid: {error}", field) from error
    if service not in services.sections():
        raise ConfigurationError(f"{field}: service: {file} has no section [{service}].", field)


@lru_cache(maxsize=64)
def _warn_of_ignored(names: tuple[str, ...]) -> None:
    # Once, rather than for every connection.
    for name in names:
        logger.warning("The parameter %s of the connection string is ignored: asyncpg does not support it.", name)


def connection_error(masked_dsn: str | None, error: BaseException, attempts: int = 1) -> ConnectionError:
    """The ConnectionError for ``error``, with host, port, database and advice, and without the password."""
    host, port, database = target(masked_dsn) if masked_dsn is not None else ("?", "?", "?")
    notes = "".join(f"\n{note}" for note in getattr(error, "__notes__", ()))
    return ConnectionError(
        f"Cannot connect to database {database!r} on {host}:{port} after {attempts} "
        f"attempt{'' if attempts == 1 else 's'}: {error_text(error)}{notes}\n"
        f"Troubleshooting tips: {_advice(error)}",
        {"error_type": type(error).__name__},
        host=host,
        port=port,
        database=database,
        attempts=attempts,
    )


def _advice(error: BaseException) -> str:
    if isinstance(error, ssl.SSLError) or server_has_no_tls(error):
        return _tls_advice(error)
    if is_startup_setting_refused(error):
        return (
            "The pooler refuses settings in the startup packet. In PgBouncer, list them in ignore_startup_parameters = "
            "jit, statement_timeout, lock_timeout, idle_in_transaction_session_timeout, search_path; the settings that "
            "it then drops can be set on the server with ALTER ROLE ... SET."
        )
    if isinstance(error, asyncpg.InvalidPasswordError | asyncpg.InvalidAuthorizationSpecificationError):
        if is_tls_required(error):
            return (
                "If the server accepts TLS only, set ssl_enabled=True and remove sslmode=disable from the connection "
                "string."
            )
        if is_certificate_required(error):
            return (
                "The server requires a client certificate, for this user, issued by an authority that it trusts: check "
                "ssl_cert_file and ssl_key_file."
            )
        return (
            "Check the user, the password (in a URL, its special characters have to be percent-encoded), and the "
            "server's pg_hba.conf."
        )
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return "The server has no such database: check the name, or create it with `pgdbm db create` or createdb."
    if isinstance(error, asyncpg.TooManyConnectionsError):
        return "The server has no free connection: lower max_connections here, or share one pool between services."
    if isinstance(error, asyncpg.ConnectionDoesNotExistError | ConnectionResetError):
        return (
            "The server, or a proxy in front of it, closed the connection: check its log. One reason is a client "
            "certificate that it does not trust: check ssl_cert_file and ssl_key_file."
        )
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return (
            "No host matches target_session_attrs in the connection string: a failover may be in progress, or a host "
            "is missing from the string."
        )
    if isinstance(error, asyncpg.CannotConnectNowError):
        return "The server is starting up or shutting down: try again in a moment."
    return CHECK_SERVER


def _tls_advice(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _EXPIRED:
            return "The server's certificate is not valid now: renew it, or correct this machine's clock."
        if error.verify_code in _HOST_MISMATCH:
            return (
                "The server's certificate is for another host name: connect with a name that it contains, or set "
                "ssl_mode='verify-ca' to skip the host name check."
            )
        return (
            "The authority that issued the server's certificate is not trusted: set ssl_ca_file to that authority's "
            "certificate."
        )
    if server_has_no_tls(error):
        return "The server does not use TLS: enable it there (ssl = on), or set ssl_enabled=False."
    return (
        "The TLS handshake failed: check that the authority of ssl_cert_file is trusted by the server, and that both "
        "sides support a common TLS version."
    )
