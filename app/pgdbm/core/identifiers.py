"""What may be used as a name in SQL that we compose."""

from __future__ import annotations

import re

from ..errors import SchemaError

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}\Z")


def is_identifier(name: str) -> bool:
    """True for ``[A-Za-z_][A-Za-z0-9_]{0,62}``: at most 63 characters, which is what PostgreSQL keeps of a name."""
    return _PLAIN.match(name) is not None


def check_identifier(name: object, what: str = "schema") -> str:
    """Return ``name`` if it is a plain identifier, else raise SchemaError saying which ``what`` is wrong."""
    if not isinstance(name, str) or not is_identifier(name):
        raise SchemaError(
            f"Invalid {what} name {name!r}: use letters, digits and underscores, at most 63 of them, "
            f"and no digit in front.",
            schema=name if isinstance(name, str) else None,
        )
    return name


def quote(identifier: str) -> str:
    """``identifier`` in double quotes, for the places where SQL cannot take a parameter."""
    return '"' + identifier.replace('"', '""') + '"'
