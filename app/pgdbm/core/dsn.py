"""Connection strings: masking, and what server and database they name. Pure."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

MASK = "****"

_SECRET_PARAMETER = re.compile(r"(?i)([?&](?:password|sslpassword|passfile)=)[^&#]*")
_SECRET_KEYWORD = re.compile(
    r"(?i)(\b(?:password|sslpassword)\s*=\s*)(?:'(?:[^'\\]|\\.)*'?|(?:[^\s\\]|\\.)+)", re.DOTALL
)


def mask(dsn: str) -> str:
    """``dsn`` with every password as ``****``; for URLs and for ``key=value`` strings.

    Errs on the side of hiding: what may be a part of an unencoded password is hidden with it.
    """
    scheme, separator, rest = dsn.partition("://")
    if not separator:
        return _SECRET_KEYWORD.sub(rf"\1{MASK}", dsn)
    user_info_end = _user_info_end(rest)
    if user_info_end >= 0:
        user, colon, _password = rest[:user_info_end].partition(":")
        rest = (f"{user}{colon}{MASK}" if colon else user) + rest[user_info_end:]
    return scheme + separator + _SECRET_PARAMETER.sub(rf"\1{MASK}", rest)


def _user_info_end(rest: str) -> int:
    """Where the ``@`` before the host stands, or -1. A password may hold a bare ``@``, ``/`` or ``?``."""
    before_query = rest.partition("?")[0].rfind("@")
    if before_query >= 0:
        return before_query
    at = rest.rfind("@")
    # user@host/db?user=a@b has its @ in a parameter; user:p?w@host has it in the password.
    if at >= 0 and ":" in rest.partition("?")[0] and "=" not in rest[rest.find("?") : at]:
        return at
    return -1


def target(dsn: str) -> tuple[str, str, str]:
    """(host, port, database) that ``dsn`` names, as text, for messages; never the credentials."""
    parts = urlsplit(dsn)
    hosts = parts.netloc.rpartition("@")[2]
    host, _, port = hosts.rpartition(":") if re.search(r":\d*\Z", hosts) else (hosts, "", "")
    return unquote(host) or "localhost", port or "5432", unquote(parts.path.lstrip("/")) or "(default)"
