"""What a database URL says, read as asyncpg reads it. Messages never repeat the URL: it may hold a password."""

from __future__ import annotations

import os
import re
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlencode, urlsplit

from .problems import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

_DATABASE_PARAMETERS = ("database", "dbname")


def check(url: str, file: Path | None, key: str) -> str:
    """``url``, if it is one that can be used.

    Raises:
        ConfigError: it is empty, not of PostgreSQL, or not a URL.
    """
    if not url.strip():
        raise ConfigError("is empty.", file=file, key=key, hint="Write postgresql://user:password@host:5432/name.")
    scheme, separator, _ = url.partition("://")
    if not separator:
        raise ConfigError("is not a URL.", file=file, key=key, hint="Write postgresql://user:password@host:5432/name.")
    if scheme not in ("postgresql", "postgres"):
        raise ConfigError(
            f"begins with {scheme}://.", file=file, key=key, hint="It must begin with postgresql:// or postgres://."
        )
    try:
        parts = urlsplit(url)
        ports_are_numbers = all(re.search(r"\A[^:]*(?::\d*)?\Z|\]", host) for host in _hosts(parts).split(","))
    except ValueError:
        ports_are_numbers = False
    if not ports_are_numbers:
        raise ConfigError(
            "has a host or port that cannot be read.",
            file=file,
            key=key,
            hint="Percent-encode the special characters of the password: / is %2F, @ is %40, # is %23, ? is %3F.",
        )
    return url


def database_of(url: str) -> str | None:
    """The database that ``url`` names."""
    parts = urlsplit(url)
    for name in _DATABASE_PARAMETERS:
        if name in parse_qs(parts.query):
            return parse_qs(parts.query)[name][-1]
    return unquote(parts.path.lstrip("/")) or os.environ.get("PGDATABASE")


def with_database(url: str, database: str) -> str:
    """``url`` with another database, everything else as it was."""
    parts = urlsplit(url)
    query = {name: values for name, values in parse_qs(parts.query).items() if name not in _DATABASE_PARAMETERS}
    return parts._replace(path="/" + quote(database, safe=""), query=urlencode(query, doseq=True)).geturl()


def is_loopback(url: str) -> bool:
    """Whether every host that ``url`` may lead to is this machine."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    if "service" in query or os.environ.get("PGSERVICE"):
        return False
    named = [_hosts(parts), *query.get("host", [])]
    hosts = [host for names in named for host in names.split(",") if host]
    hosts = hosts or [host for host in os.environ.get("PGHOST", "").split(",") if host]
    return all(_is_this_machine(unquote(host)) for host in hosts)


def _hosts(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]


def _is_this_machine(host: str) -> bool:
    if host.startswith(("/", "@")):
        return True
    bracketed = re.match(r"\[(.*)\]", host)
    name = bracketed[1] if bracketed else host if host.count(":") > 1 else host.partition(":")[0]
    if name in ("", "localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
