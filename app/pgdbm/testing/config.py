"""The server of test databases, and their names."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Self

from ..core.templating import check_identifier
from ..errors import ConfigurationError
from . import server

LONGEST_PREFIX = 20

_SERVER_VARIABLES = ("TEST_DB_HOST", "TEST_DB_PORT", "TEST_DB_USER", "TEST_DB_PASSWORD")
_TRUE = ("1", "true", "yes", "on")
_FALSE = ("", "0", "false", "no", "off")


@dataclass(kw_only=True, slots=True)
class DatabaseTestConfig:
    """A server whose user may create databases.

    ``connection_string`` takes precedence over host, port, user and password, and ``embedded`` over both: it selects
    the embedded PostgreSQL of this process, which is started on first use. Its files are in memory if there is enough
    of it and TMPDIR is unset, otherwise in the folder for temporary files. The name of a database begins with
    ``test_db_prefix``; it is a copy of ``test_db_template``. ``drop_on_cleanup=False`` keeps databases for inspection.
    ``verbose`` logs their creation and removal, ``log_sql`` their queries, both at level INFO of the logger
    ``pgdbm.testing``.

    Raises:
        ConfigurationError: a value is out of range.
        SchemaError: prefix or template is not a plain identifier.
    """

    host: str = "localhost"
    port: int = 5432
    user: str = "postgres"
    password: str = field(default="postgres", repr=False)
    test_db_prefix: str = "test_"
    test_db_template: str = "template0"
    drop_on_cleanup: bool = True
    verbose: bool = False
    log_sql: bool = False
    connection_string: str | None = field(default=None, repr=False)
    embedded: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.port <= 65535:
            raise ConfigurationError(f"port is {self.port}; it must be 1 to 65535.", "port")
        check_identifier(self.test_db_prefix, "test_db_prefix")
        check_identifier(self.test_db_template, "test_db_template")
        if len(self.test_db_prefix) > LONGEST_PREFIX:
            raise ConfigurationError(
                f"test_db_prefix has {len(self.test_db_prefix)} characters; more than {LONGEST_PREFIX} leave no "
                f"space for the unique part of a name.",
                "test_db_prefix",
            )

    @classmethod
    def from_env(cls) -> Self:
        """From TEST_DB_HOST, TEST_DB_PORT, TEST_DB_USER, TEST_DB_PASSWORD, TEST_DB_VERBOSE and TEST_DB_LOG_SQL.

        If none of the first four is set, DATABASE_URL is used; without it the embedded PostgreSQL; or, if that is not
        installed, the defaults.

        Raises:
            ConfigurationError: a variable is invalid; ``config_field`` names it.
        """
        verbose, log_sql = _flag("TEST_DB_VERBOSE"), _flag("TEST_DB_LOG_SQL")
        if any(os.environ.get(name) for name in _SERVER_VARIABLES):
            return cls(
                host=os.environ.get("TEST_DB_HOST") or "localhost",
                port=_port("TEST_DB_PORT"),
                user=os.environ.get("TEST_DB_USER") or "postgres",
                password=os.environ.get("TEST_DB_PASSWORD", "postgres"),
                verbose=verbose,
                log_sql=log_sql,
            )
        if url := os.environ.get("DATABASE_URL"):
            return cls(connection_string=url, verbose=verbose, log_sql=log_sql)
        return cls(embedded=server.is_available(), verbose=verbose, log_sql=log_sql)


def _flag(name: str) -> bool:
    value = os.environ.get(name, "").strip().lower()
    if value not in _TRUE + _FALSE:
        raise ConfigurationError(
            f"{name} is {value!r}; choose one of {', '.join(_TRUE)} or {', '.join(filter(None, _FALSE))}.", name
        )
    return value in _TRUE


def _port(name: str) -> int:
    value = os.environ.get(name) or "5432"
    if not value.isascii() or not value.isdigit() or not 1 <= int(value) <= 65535:
        raise ConfigurationError(f"{name} is {value!r}; it must be 1 to 65535.", name)
    return int(value)
