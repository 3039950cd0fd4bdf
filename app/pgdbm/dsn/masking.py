"""Connection strings in logs and messages: without passwords, and reduced to host, port and database.

They are not parsed strictly, because a refused string is shown, too. libpq, asyncpg and urllib read a URL that
is not percent-encoded in different ways, so everything that one of them treats as part of the password is hidden.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote, unquote_plus

from ..patterns import late_pattern

MASK = "****"

Target = tuple[str, str, str]
"""Host, port and database, as text."""

_URL = late_pattern(r"\s*[A-Za-z][A-Za-z0-9+.\-]*://")
_SECRET_NAME = late_pattern(r"pass|pwd|secret|token|scram", re.IGNORECASE)
# ASCII white space only: libpq treats anything else as part of the value.
_PAIR = late_pattern(
    r"(?a:\s*)(\w+)(?a:\s*=\s*)('(?:[^'\\]|\\.)*'|(?:(?a:[^\s'\\])|\\.)(?:(?a:[^\s\\])|\\.)*|)", re.DOTALL
)
_HOSTS_THEN_SLASH = late_pattern(r"(?:(?:\[[^\[\]]*\]|[^:\[\]/,]*)(?::\d*)?(?:,(?!/)|(?=/)))+/")
_MAY_HOLD_AT = frozenset(
    ("user", "password", "sslpassword", "passfile", "options", "application_name", "dbname", "database", "host",
     "service", "krbsrvname", "sslcert", "sslkey", "sslrootcert")
)  # fmt: skip
_BAD_PORT = late_pattern(r"\A([^:\[\],/?#]*:)(?!\d*(?:[,/?#]|\Z))[^,/?#]*")
_PARTS = late_pattern(r"(?P<hosts>[^/?#]*)(?:/(?P<path>[^?#]*))?(?:[^?]*\?(?P<query>.*))?", re.DOTALL)
_HOST_PORT = late_pattern(r"(\[[^\]]*\]|[^:]*)(?::(\d*))?")


def mask(dsn: str) -> str:
    """``dsn`` with every password as ``****``; for URLs and for ``key=value`` strings.

    Errs on the side of hiding: everything that may belong to a password that is not percent-encoded, and whatever
    cannot be parsed.
    """
    if not _URL.match(dsn):
        return _mask_pairs(dsn)
    scheme, _, rest = dsn.partition("://")
    end = _user_info_end(rest)
    if end >= 0:
        user, colon, _password = rest[:end].partition(":")
        rest = (f"{user}{colon}{MASK}" if colon else user) + rest[end:]
    else:
        rest = _BAD_PORT.sub(rf"\1{MASK}", rest)
    path, question, query = rest.partition("?")
    return f"{scheme}://{path}{question}{'&'.join(map(_mask_parameter, query.split('&')))}"


def _mask_parameter(parameter: str) -> str:
    name, equals, _value = parameter.partition("=")
    if equals:
        return f"{name}={MASK}" if _SECRET_NAME.search(unquote_plus(name)) else parameter
    # Parameters always have a value: otherwise, what follows the & belongs to a value that is not percent-encoded.
    return MASK if name else name


def _mask_pairs(dsn: str) -> str:
    shown: list[str] = []
    end = 0
    while match := _PAIR.match(dsn, end):
        hidden = _SECRET_NAME.search(match[1]) and match[2]
        shown.append(dsn[end : match.start(2)] + MASK if hidden else match[0])
        end = match.end()
    rest = dsn[end:]
    return "".join(shown) + (MASK if rest.strip() else rest)


def _user_info_end(rest: str) -> int:
    """The index of the ``@`` before the host, or -1. The password may contain a bare ``@``, ``/`` or ``?``."""
    path, _, query = rest.partition("?")
    at, at_in_query = path.rfind("@"), query.rfind("@")
    if at_in_query < 0:
        return at
    # In user@host/db?user=a@b the second @ belongs to a parameter, in user:p?w@host the first to the password.
    if (at >= 0 or _HOSTS_THEN_SLASH.match(path)) and all(
        unquote_plus(parameter.partition("=")[0]) in _MAY_HOLD_AT for parameter in query.split("&") if "@" in parameter
    ):
        return at
    last = len(path) + 1 + at_in_query
    return last if ":" in rest[:last] else at


def target(dsn: str) -> Target:
    """Host, port and database of ``dsn``, for messages; never the credentials.

    Several hosts are separated by commas, and so are their ports if they differ.
    """
    masked = mask(dsn)
    user, hosts, ports, path = "", "", "", ""
    if _URL.match(masked):
        rest = masked.partition("://")[2]
        end = _user_info_end(rest)
        user = unquote(rest[: max(end, 0)].partition(":")[0])
        parts = _PARTS.match(rest[end + 1 :])
        assert parts is not None
        pairs = [_HOST_PORT.match(host) for host in parts["hosts"].split(",")]
        hosts = ",".join(unquote(pair[1]) for pair in pairs if pair)
        numbers = [pair[2] or "5432" for pair in pairs if pair]
        ports = numbers[0] if len(set(numbers)) == 1 else ",".join(numbers)
        path = unquote(parts["path"] or "")
        values = dict(parse_qsl(parts["query"] or ""))
    else:
        values = {pair[1]: _unquoted(pair[2]) for pair in _PAIR.finditer(masked)}
    named_user = user or values.get("user", "")
    return (
        hosts or values.get("host") or values.get("hostaddr") or "localhost",
        (ports if hosts else values.get("port")) or "5432",
        path or values.get("dbname") or values.get("database") or named_user or "(default)",
    )


def _unquoted(value: str) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] == "'"
    return re.sub(r"\\(.)", r"\1", value[1:-1] if quoted else value, flags=re.DOTALL)
