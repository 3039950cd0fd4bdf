"""Parsing of connection strings: URLs and ``keyword=value`` strings, as libpq reads them.

No message repeats a value of the string: any part of it may belong to a password that is not percent-encoded.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from ..errors import ConfigurationError
from ..patterns import late_pattern
from . import parameters as known
from .hosts import is_loopback, is_socket_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_PORT = 5432
_FORM = "postgresql://user:password@host:port/database?parameter=value"
_ENCODE = (
    "Percent-encode the special characters of the user name and the password, as urllib.parse.quote(part, safe='') "
    "does: / is %2F, @ is %40, : is %3A, # is %23, ? is %3F, % is %25."
)
# A backslash at the very end is ignored.
_PAIR = late_pattern(
    r"\s*(\w+)\s*=\s*('(?:[^'\\]|\\.)*'|(?:[^\s'\\]|\\.|\\\Z)(?:[^\s\\]|\\.|\\\Z)*|)", re.DOTALL | re.ASCII
)
_PARAMETERS_FIRST = late_pattern(r"[^:]*\?[a-z]\w*=")
_NAME = late_pattern(r"[A-Za-z_][\w.-]*")
_BAD_ESCAPE = late_pattern(r"%(?![0-9A-Fa-f]{2})")
_HOST_PORT = late_pattern(r"(\[[^\]]+\]|[^:\[\]]*)(?::([0-9]*))?")
# What ``options`` sets: -c name=value, -cname=value or --name=value.
_OPTION = late_pattern(r"(?:^|\s)(?:-c\s*|--)([\w.-]+)\s*=")
_OTHER_NAMES = {"database": "dbname"}


class ConnectionString(NamedTuple):
    """A connection string, parsed. ``parameters`` are libpq's, by name, without empty values."""

    parameters: Mapping[str, str]

    @property
    def database(self) -> str | None:
        """The database that the string or PGDATABASE names; None if it is the one named after the user."""
        return self.parameters.get("dbname") or os.environ.get("PGDATABASE") or None

    @property
    def hosts(self) -> tuple[tuple[str, int], ...]:
        """The hosts and ports in the order of the string; empty if it names no host."""
        named = self.parameters.get("hostaddr") or self.parameters.get("host")
        if not named:
            return ()
        hosts = named.split(",")
        ports = self._ports
        if len(ports) == 1:
            ports *= len(hosts)
        return tuple(zip(hosts, ports, strict=True))

    @property
    def _ports(self) -> list[int]:
        text = self.parameters.get("port") or os.environ.get("PGPORT") or str(DEFAULT_PORT)
        return [int(port or DEFAULT_PORT) for port in text.split(",")]

    @property
    def is_local(self) -> bool:
        """Whether every host in the string is this machine."""
        if "service" in self.parameters or os.environ.get("PGSERVICE"):
            return False
        named = self.parameters.get("hostaddr") or self.parameters.get("host") or os.environ.get("PGHOST") or ""
        return all(not host or is_socket_folder(host) or is_loopback(host) for host in named.split(","))

    @property
    def target_session_attrs(self) -> str | None:
        return self.parameters.get("target_session_attrs") or os.environ.get("PGTARGETSESSIONATTRS") or None

    @property
    def server_settings(self) -> dict[str, str]:
        """The parameters that are sent to the server in the startup packet."""
        return {
            name: value
            for name, value in self.parameters.items()
            if name not in known.HONOURED and name not in known.SATISFIED
        }

    @property
    def names_of_settings(self) -> frozenset[str]:
        """The server settings in the string, as parameters or within ``options``."""
        named = set(self.server_settings)
        named.update(name.replace("-", "_") for name in _OPTION.findall(self.parameters.get("options", "")))
        return frozenset(named)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The names of parameters that are ignored, although they would change the connection."""
        return tuple(
            name
            for name in known.IGNORED_WITH_A_WARNING
            if name in self.parameters and self.parameters[name] not in known.SATISFIED[name]
        )

    @property
    def tls(self) -> dict[str, str]:
        """The TLS parameters, for asyncpg."""
        return {name: self.parameters[name] for name in known.TLS if name in self.parameters}

    @property
    def files(self) -> dict[str, str]:
        """The files that the string names, by parameter; without ``sslrootcert=system``."""
        return {
            name: value
            for name, value in self.tls.items()
            if name in known.FILES and not (name == "sslrootcert" and value == "system")
        }

    @property
    def uses_system_roots(self) -> bool:
        return (self.parameters.get("sslrootcert") or os.environ.get("PGSSLROOTCERT")) == "system"

    def number(self, name: str) -> int | None:
        """The value of a numeric parameter."""
        value = self.parameters.get(name)
        return None if value is None else int(value)

    def with_parameters(self, **changed: str) -> str:
        """The URL with other values of some parameters."""
        return _url({**self.parameters, **changed})


def parse_dsn(text: str, field: str = "connection_string") -> ConnectionString:
    """Parse ``text``, a URL or a ``keyword=value`` string.

    Raises:
        ConfigurationError: it is malformed, or requests something that is not supported. The message names the
            parameter but no value; ``config_field`` is ``field``.
    """
    try:
        is_url = re.match(r"\s*[A-Za-z][A-Za-z0-9+.-]*://", text) is not None
        parameters = _parse_url(text.strip()) if is_url else _parse_pairs(text)
        _split_ports_off(parameters)
        _check(parameters, _from_environment(parameters))
    except _RefusedError as error:
        raise ConfigurationError(f"{field}: {error}", field) from None
    return ConnectionString(parameters)


def _from_environment(parameters: dict[str, str]) -> dict[str, str]:
    """Add the values of libpq's variables that asyncpg does not read; returns the variable of each added parameter."""
    added = {}
    for variable, name in known.ENVIRONMENT.items():
        value = os.environ.get(variable)
        # PGHOSTADDR is the address of PGHOST, not of a host in the string.
        if not value or name in parameters or (name == "hostaddr" and "host" in parameters):
            continue
        parameters[name] = value
        added[name] = variable
    return added


class _RefusedError(Exception):
    """Why a connection string cannot be used."""


def _parse_url(text: str) -> dict[str, str]:
    scheme, _, rest = text.partition("://")
    if scheme.lower() not in ("postgresql", "postgres"):
        raise _RefusedError("The URL must begin with postgresql:// or postgres://.")
    parameters: dict[str, str] = {}
    user_info, rest = _split_user_info(rest)
    user, _, password = user_info.partition(":")
    parameters["user"], parameters["password"] = _decode(user), _decode(password)
    authority = re.split("[/?]", rest, maxsplit=1)[0]
    if "@" in authority:
        raise _RefusedError(f"The host contains an @. {_ENCODE}")
    parameters["host"], parameters["port"] = _split_hosts(authority)
    path, _, query = rest[len(authority) :].partition("?")
    if "@" in path:
        raise _RefusedError(f"The database name contains an @. {_ENCODE}")
    parameters["dbname"] = _decode(path.removeprefix("/"))
    for part in filter(None, query.split("&")):
        name, equals, value = part.partition("=")
        if not equals:
            raise _RefusedError(f"A parameter after the ? has no value. {_ENCODE}")
        name = _decode(name)
        if not _NAME.fullmatch(name):
            raise _RefusedError(f"The name of a parameter after the ? is invalid. {_ENCODE}")
        parameters |= _named(name, _decode(value))
    return {name: value for name, value in parameters.items() if value}


def _split_user_info(rest: str) -> tuple[str, str]:
    """The user info, without its @, and what follows. libpq accepts every character but / and @ in it."""
    end = re.search("[@/]", rest)
    if end is None or end[0] == "/":
        return "", rest
    before = rest[: end.start()]
    # host?user=a@b: the @ belongs to a parameter.
    if _PARAMETERS_FIRST.match(before):
        return "", rest
    return before, rest[end.end() :]


def _split_hosts(authority: str) -> tuple[str, str]:
    hosts, ports = [], []
    for part in authority.split(","):
        match = _HOST_PORT.fullmatch(part)
        if match is None or (match[2] and not 1 <= int(match[2]) <= 65535):
            raise _RefusedError(f"A host or port is invalid; the form is {_FORM}. {_ENCODE}")
        hosts.append(_decode(match[1]).strip("[]"))
        ports.append(match[2] or "")
    if not any(hosts):
        return "", ports[0]
    if not all(hosts):
        raise _RefusedError("One of several hosts has no name.")
    default = os.environ.get("PGPORT") or str(DEFAULT_PORT)
    return ",".join(hosts), ",".join(port or default for port in ports) if any(ports) else ""


def _split_ports_off(parameters: dict[str, str]) -> None:
    """``host=a:1,b:2`` as asyncpg reads it: a port may follow each host."""
    hosts = parameters.get("host", "").split(",")
    found = [None if is_socket_folder(host) else _HOST_PORT.fullmatch(host) for host in hosts]
    if any(match and match[2] for match in found):
        default = parameters.get("port") or str(DEFAULT_PORT)
        parameters["port"] = ",".join((match and match[2]) or default for match in found)
    if hosts != [""]:
        parameters["host"] = ",".join(
            match[1].strip("[]") if match else host for match, host in zip(found, hosts, strict=True)
        )


def _parse_pairs(text: str) -> dict[str, str]:
    parameters: dict[str, str] = {}
    end = 0
    while match := _PAIR.match(text, end):
        value = match[2]
        if value.startswith("'"):
            value = value[1:-1]
        parameters |= _named(match[1], re.sub(r"\\(.?)", r"\1", value, flags=re.DOTALL))
        end = match.end()
    if text[end:].strip() or not parameters:
        start = text.strip()
        if start[:1] in ("'", '"'):
            raise _RefusedError("It begins with a quote: remove the quotes around it.")
        if start.startswith("jdbc:"):
            raise _RefusedError(f"It is a JDBC URL: remove jdbc:, and put the user and the password into it ({_FORM}).")
        raise _RefusedError(f"It is neither a URL ({_FORM}) nor keyword=value pairs.")
    return {name: value for name, value in parameters.items() if value}


def _named(name: str, value: str) -> dict[str, str]:
    # libpq accepts the JDBC driver's spelling.
    if name == "ssl" and value == "true":
        return {"sslmode": "require"}
    return {_OTHER_NAMES.get(name, name): value}


def _decode(text: str) -> str:
    if "%00" in text or "\0" in text:
        raise _RefusedError("It contains a null character.")
    if _BAD_ESCAPE.search(text):
        raise _RefusedError(f"A % is not followed by two hexadecimal digits. {_ENCODE}")
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise _RefusedError(f"A percent-encoded part is not UTF-8. {_ENCODE}") from None


def _check(parameters: dict[str, str], variables: Mapping[str, str]) -> None:
    for name, value in parameters.items():
        variable = variables.get(name)
        _check_parameter(name, value, f"The environment variable {variable}" if variable else f"The parameter {name}")
    hosts = (parameters.get("hostaddr") or parameters.get("host") or "").split(",")
    ports = parameters.get("port", "").split(",")
    if not all(port.isdecimal() and 1 <= int(port) <= 65535 for port in ports if port):
        raise _RefusedError("port must be a number from 1 to 65535.")
    if len(ports) not in (1, len(hosts)):
        raise _RefusedError(f"port names {len(ports)} ports for {len(hosts)} hosts.")
    if "hostaddr" in parameters and "host" in parameters and parameters.get("sslmode") == "verify-full":
        raise _RefusedError("hostaddr cannot be combined with sslmode=verify-full: remove hostaddr.")
    _check_roots(parameters)


def _check_parameter(name: str, value: str, source: str) -> None:
    tool = known.FOREIGN.get(name) or next(
        (tool for prefix, tool in known.FOREIGN_PREFIXES.items() if name.startswith(prefix)), None
    )
    if tool is not None:
        raise _RefusedError(f"The parameter {name} belongs to {tool}, not to PostgreSQL: remove it from this string.")
    if name in known.REFUSED:
        raise _RefusedError(f"{source} is not supported: {known.REFUSED[name]}.")
    if name in known.CHOICES and value not in known.CHOICES[name]:
        raise _RefusedError(f"{source} must be one of {', '.join(known.CHOICES[name])}.")
    if name in known.NUMBERS and not re.fullmatch(r"-?[0-9]{1,9}", value):
        raise _RefusedError(f"{source} must be a whole number.")
    satisfied = known.SATISFIED.get(name)
    if satisfied is not None and name not in known.IGNORED_WITH_A_WARNING and value.lower() not in satisfied:
        raise _RefusedError(f"{source} is supported only with {' or '.join(satisfied)}.")


def _check_roots(parameters: dict[str, str]) -> None:
    mode = parameters.get("sslmode") or os.environ.get("PGSSLMODE") or "prefer"
    roots = parameters.get("sslrootcert") or os.environ.get("PGSSLROOTCERT")
    if roots == "system":
        if mode != "verify-full" and ("sslmode" in parameters or "PGSSLMODE" in os.environ):
            raise _RefusedError("sslrootcert=system needs sslmode=verify-full.")
    elif mode in ("verify-ca", "verify-full") and not roots:
        default = Path("~/.postgresql/root.crt").expanduser()
        if not default.is_file():
            raise _RefusedError(
                f"sslmode={mode} requires an authority's certificate, and there is no {default}: add "
                f"sslrootcert=FILE, or sslmode=verify-full&sslrootcert=system for this system's authorities."
            )


def _url(parameters: Mapping[str, str]) -> str:
    """``parameters`` as a URL. Hosts are parameters too, because a socket's folder cannot be written as a host."""
    rest = dict(parameters)
    user, password = rest.pop("user", ""), rest.pop("password", "")
    database = rest.pop("dbname", "")
    hosts, ports = rest.pop("host", ""), rest.pop("port", "")
    user_info = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
    named = hosts.split(",")
    numbers = ports.split(",") if "," in ports else [ports] * len(named)
    authority = ",".join(
        (f"[{host}]" if ":" in host else quote(host, safe="")) + (f":{port}" if port else "")
        for host, port in zip(named, numbers, strict=True)
    )
    query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in rest.items())
    return (
        f"postgresql://{user_info}{'@' if user_info else ''}{authority}/{quote(database, safe='')}"
        f"{'?' if query else ''}{query}"
    )
