"""The settings of a database: where it is, and how connections to it behave."""

from __future__ import annotations

import copy
import math
import os
import ssl
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote as url_quote

from ..dsn import MASK, mask, parse_dsn
from ..errors import ConfigurationError
from ..text import sentence
from .templating import check_identifier, quote

if TYPE_CHECKING:
    from collections.abc import Callable

NEUTRAL_SEARCH_PATH = "pg_catalog"
"""The search_path of shared pools: an unqualified table name fails instead of naming another service's table."""

_SSL_MODES = ("require", "verify-ca", "verify-full")
_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


@dataclass(kw_only=True, slots=True, repr=False)
class DatabaseConfig:
    """Settings of one database. They are validated on construction.

    Times are in seconds unless the name ends in ``_ms``. ``connection_string`` takes precedence over host, port,
    database, user and password. Use ``statement_cache_size=0`` with a transaction pooler. A timeout of None keeps the
    server's setting. Numbers may be given as text, such as the values of environment variables.

    A connection keeps the last ``statement_cache_size`` statements prepared, each for
    ``max_cached_statement_lifetime`` seconds after it was prepared; with 0, as long as it is among the last.

    ``connect_timeout`` limits one attempt to connect, over all hosts of the connection string, which get equal shares
    of it. There are ``retry_attempts`` attempts. ``direct_connection_string`` is the address of the same database
    without the transaction pooler, for migrations that need a session. All other settings apply to both.

    ``password_file`` is a file that contains the password and nothing else. It is read for each new connection, and
    takes precedence over passwords in strings and in the environment.

    ``transaction_search_path`` is set in each transaction of a pool, and at the start of direct connections: through a
    transaction pooler, a session cannot keep a search_path. A query outside a transaction is put into one, which takes
    two more round trips.

    ``init_commands`` are run once on each new connection. The pool resets settings when a connection is returned, so
    settings for all queries belong in ``server_settings``.

    Raises:
        ConfigurationError: a value is out of range or contradicts another; ``config_field`` names it.
        SchemaError: ``schema`` is not a plain identifier.
    """

    connection_string: str | None = None
    direct_connection_string: str | None = None
    host: str = "localhost"
    port: int = 5432
    database: str = "postgres"
    user: str = "postgres"
    password: str | None = None
    password_file: str | None = None
    schema: str | None = None

    min_connections: int = 10
    max_connections: int = 20
    max_queries: int = 50_000
    max_inactive_connection_lifetime: float = 300.0
    connect_timeout: float = 10.0
    command_timeout: float | None = 60.0
    statement_cache_size: int = 1000
    max_cached_statement_lifetime: float = 300.0
    server_settings: dict[str, str] | None = None
    init_commands: list[str] | None = None
    shared_pool_search_path: str | None = NEUTRAL_SEARCH_PATH
    transaction_search_path: str | None = None

    ssl_enabled: bool = False
    ssl_mode: str | None = None
    ssl_ca_file: str | None = None
    ssl_cert_file: str | None = None
    ssl_key_file: str | None = None
    ssl_key_password: str | None = None

    statement_timeout_ms: int | None = 60_000
    idle_in_transaction_session_timeout_ms: int | None = 60_000
    lock_timeout_ms: int | None = 5_000

    retry_attempts: int = 3
    retry_delay: float = 1.0
    retry_backoff: float = 2.0
    retry_max_delay: float = 30.0

    def __post_init__(self) -> None:
        self._check_types()
        if self.schema is not None:
            check_identifier(self.schema)
        self._check_ranges()
        self._check_search_path()
        if self.ssl_mode is not None and self.ssl_mode not in _SSL_MODES:
            raise ConfigurationError(
                f"ssl_mode is {self.ssl_mode!r}; choose one of {', '.join(_SSL_MODES)}.", "ssl_mode"
            )

    @property
    def schema_name(self) -> str | None:
        """The schema of the manager; None for unqualified names."""
        return self.schema

    def get_schema(self) -> str | None:
        """The schema of the manager; None for unqualified names."""
        return self.schema

    def get_dsn(self) -> str:
        """The connection string, with the password: do not log it.

        If it has no password, the environment variable DB_PASSWORD is used.

        Raises:
            ConfigurationError: there is neither a connection string nor a password.
        """
        if self.connection_string:
            return self.connection_string
        password = self.password if self.password is not None else os.environ.get("DB_PASSWORD")
        if password is None and self.password_file is not None:
            password = ""
        if password is None:
            raise ConfigurationError(
                "No password for the database: set password=, the environment variable DB_PASSWORD, or "
                "connection_string=.",
                "password",
            )
        return self._url(url_quote(password, safe=""))

    def get_dsn_masked(self) -> str:
        """The connection string with ``****`` in place of passwords, for logs and messages."""
        if self.connection_string:
            return mask(self.connection_string)
        return self._url(MASK)

    def _url(self, password: str) -> str:
        # One host, several separated by commas, or the folder of a socket.
        hosts = ",".join(
            f"[{host}]:{self.port}" if ":" in host else f"{url_quote(host, safe='')}:{self.port}"
            for host in self.host.split(",")
        )
        return f"postgresql://{url_quote(self.user, safe='')}:{password}@{hosts}/{url_quote(self.database, safe='')}"

    def get_server_settings(self) -> dict[str, str]:
        """The settings of the startup packet: defaults, timeouts, search_path, and ``server_settings``, which wins.

        A setting in the connection string takes precedence over the defaults and the timeouts.
        """
        settings = {"jit": "off", "application_name": "pgdbm"}
        for name in ("statement_timeout", "idle_in_transaction_session_timeout", "lock_timeout"):
            milliseconds: int | None = getattr(self, f"{name}_ms")
            if milliseconds is not None:
                settings[name] = str(milliseconds)
        if self.connection_string:
            parsed = parse_dsn(self.connection_string)
            for name in parsed.names_of_settings:
                settings.pop(name, None)
            fallback = parsed.parameters.get("fallback_application_name")
            if fallback and "application_name" in settings:
                settings["application_name"] = fallback
        if self.schema is not None:
            settings["search_path"] = f"{quote(self.schema)}, public"
        return settings | (self.server_settings or {})

    def build_ssl_context(self) -> ssl.SSLContext | None:
        """The TLS context, or None if TLS is not enabled.

        ``require`` encrypts without verification, ``verify-ca`` verifies the certificate, and ``verify-full``, the
        default, the host name as well.

        Raises:
            ConfigurationError: a file is missing or invalid; ``config_field`` names it.
        """
        if not self.ssl_enabled:
            return None
        for field in ("ssl_ca_file", "ssl_cert_file", "ssl_key_file"):
            path: str | None = getattr(self, field)
            if path is not None and not Path(path).is_file():
                raise ConfigurationError(f"{field}: the file {path!r} does not exist.", field)
        if self.ssl_key_file is not None and self.ssl_cert_file is None:
            raise ConfigurationError("ssl_key_file requires a certificate: set ssl_cert_file.", "ssl_cert_file")
        try:
            context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=self.ssl_ca_file)
        except ssl.SSLError as error:
            raise ConfigurationError(
                sentence(f"ssl_ca_file: {self.ssl_ca_file!r} contains no certificate: {error.reason or error}"),
                "ssl_ca_file",
            ) from error
        mode = self.ssl_mode or "verify-full"
        context.check_hostname = mode == "verify-full"
        context.verify_mode = ssl.CERT_NONE if mode == "require" else ssl.CERT_REQUIRED
        if self.ssl_cert_file is not None:
            try:
                context.load_cert_chain(self.ssl_cert_file, self.ssl_key_file, self.ssl_key_password or "")
            except (OSError, ValueError) as error:
                raise ConfigurationError(
                    sentence(
                        f"ssl_cert_file and ssl_key_file do not load as a certificate and its key "
                        f"(is ssl_key_password correct?): {getattr(error, 'reason', None) or error}"
                    ),
                    "ssl_cert_file",
                ) from error
        return context

    def model_copy(self, *, update: dict[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with the values of ``update``, validated again; ``deep`` copies dicts and lists, too."""
        made = copy.deepcopy(self) if deep else copy.copy(self)
        for given, value in (update or {}).items():
            name = "schema" if given == "schema_name" else given
            if name not in type(self).__dataclass_fields__:
                raise ConfigurationError(f"DatabaseConfig has no field {name!r}.", name)
            setattr(made, name, value)
        made.__post_init__()
        return made

    def __repr__(self) -> str:
        """Without passwords, since configs are logged."""
        schema = f", schema={self.schema!r}" if self.schema else ""
        return f"DatabaseConfig({self.get_dsn_masked()!r}{schema})"

    def _check_types(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            kind = str(field.type)
            if field.name == "schema" or (value is None and kind.endswith(" | None")):
                continue
            check, needed = _KINDS[kind.removesuffix(" | None")]
            checked = check(value)
            if checked is None:
                # Without the value: it may be a secret.
                raise ConfigurationError(f"{field.name} must be {needed}; it is a {type(value).__name__}.", field.name)
            setattr(self, field.name, checked)

    def _check_ranges(self) -> None:
        if not 1 <= self.port <= 65535:
            raise ConfigurationError(f"port is {self.port}; it must be 1 to 65535.", "port")
        for field, least in (
            ("min_connections", 0),
            ("max_connections", 1),
            ("max_queries", 1),
            ("max_inactive_connection_lifetime", 0),
            ("statement_cache_size", 0),
            ("max_cached_statement_lifetime", 0),
            ("retry_attempts", 1),
            ("retry_delay", 0),
            ("retry_backoff", 1),
            ("retry_max_delay", 0),
            ("statement_timeout_ms", 0),
            ("idle_in_transaction_session_timeout_ms", 0),
            ("lock_timeout_ms", 0),
        ):
            value = getattr(self, field)
            if value is not None and value < least:
                raise ConfigurationError(f"{field} is {value}; it must be at least {least}.", field)
        if self.connect_timeout <= 0:
            raise ConfigurationError(
                f"connect_timeout is {self.connect_timeout}; it must be greater than 0.", "connect_timeout"
            )
        if self.command_timeout is not None and self.command_timeout <= 0:
            raise ConfigurationError(
                f"command_timeout is {self.command_timeout}; it must be greater than 0, or None for no limit.",
                "command_timeout",
            )
        if self.min_connections > self.max_connections:
            raise ConfigurationError(
                f"min_connections ({self.min_connections}) is greater than max_connections ({self.max_connections}).",
                "min_connections",
            )

    def _check_search_path(self) -> None:
        for field in ("shared_pool_search_path", "transaction_search_path"):
            search_path: str | None = getattr(self, field)
            for entry in search_path_entries(search_path) if search_path is not None else ():
                try:
                    check_identifier(entry)
                except Exception as error:
                    raise ConfigurationError(
                        f"{field} is {search_path!r}; it must be plain identifiers separated by commas, or None to "
                        f"keep the server's.",
                        field,
                    ) from error


def _whole_number(value: object) -> int | None:
    number = _number(value)
    return int(number) if number is not None and number == int(number) else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _boolean(value: object) -> bool | None:
    if isinstance(value, str):
        return _BOOLEANS.get(value.strip().lower())
    return bool(value) if value in (0, 1) else None


def _text(value: object) -> str | None:
    return os.fspath(value) if isinstance(value, Path) else value if isinstance(value, str) else None


def _settings(value: object) -> dict[str, str] | None:
    if not isinstance(value, dict) or not all(isinstance(part, str) for pair in value.items() for part in pair):
        return None
    return value


def _commands(value: object) -> list[str] | None:
    if not isinstance(value, list | tuple) or not all(isinstance(command, str) for command in value):
        return None
    return value if isinstance(value, list) else list(value)


_KINDS: dict[str, tuple[Callable[[object], Any], str]] = {
    "int": (_whole_number, "a whole number"),
    "float": (_number, "a finite number"),
    "bool": (_boolean, "true or false"),
    "str": (_text, "a str"),
    "dict[str, str]": (_settings, "a dict of str to str"),
    "list[str]": (_commands, "a list of str"),
}


def search_path_entries(search_path: str) -> list[str]:
    """The schemas of a search_path, without quotes or white space."""
    return [entry.strip().strip('"') for entry in search_path.split(",")]
