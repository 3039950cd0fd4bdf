"""Everything that is in a schema, as data: object by object, in words that are equal where the objects are.

A listing names neither the schema itself nor anything that differs from one server, session or restart to the next,
so that listings of one schema at two times, and of two schemas built alike, can be compared. PostgreSQL writes
definitions a little differently from one major version to the next: listings of different ones are not equal.

Not listed: the data, what an extension owns, the current value of a sequence, operator classes and families, and what
belongs to no schema (roles, casts, publications, event triggers).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ..core.identifiers import check_identifier, quote
from ..core.pool import is_alive
from ..sql import statement

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

FORMAT = 1
"""Of listings: another number means that those which were stored cannot be compared with new ones."""

OWN_NAME = "{{schema}}"
"""What stands for the name of the schema itself."""

_COLUMN_ORDER = "column order"
_TABLE = re.compile(r"""("(?:[^"]|"")*"|[^".]+)\.""")
_WITH_QUERY = re.compile(
    r"""(?:WITH(?: RECURSIVE)?|\),)\s+("(?:[^"]|"")*"|[\w$]+)(?:\([^)]*\))?\s+AS\s+(?:NOT )?(?:MATERIALIZED )?\("""
)
_QUOTED = re.compile(r""""(?:[^"]|"")*"|'(?:[^']|'')*'""")


class CatalogObject(NamedTuple):
    """One thing in a schema. ``name`` is unique within its ``kind``; ``definition`` is for people and for equality.

    Kinds: schema, table, column, column order, constraint, index, view, materialized view, sequence, trigger, rule,
    policy, function, procedure, aggregate, type, statistics, operator, collation, text search dictionary, text search
    configuration, extension, default privileges; and owner, comment and privileges, whose name is the kind and the
    name of what they are about. Privileges are listed where they are not what the owner of a new object has.
    """

    kind: str
    name: str
    definition: str


@dataclass(frozen=True, slots=True)
class Change:
    """How one object differs. ``before`` is None for one that was added, ``after`` for one that was removed."""

    kind: Literal["added", "removed", "changed"]
    object_kind: str
    name: str
    before: str | None
    after: str | None


async def read_catalog(
    connection: Any, schema: str, exclude: Iterable[str] = (), *, stands_for: str | None = None
) -> tuple[CatalogObject, ...]:
    """The objects in ``schema``, sorted; none where there is no such schema.

    ``exclude`` names tables that are left out, with all that belongs to them. ``stands_for`` is the schema that
    ``schema`` was built in place of: what lies there, such as an extension, is then named as if it lay here.

    In a read-only transaction of its own, or below a savepoint where ``connection`` is in a transaction.
    It may wait for a lock on a view that is being changed: lock_timeout is the connection's own.
    """
    path = [check_identifier(name) for name in (schema, stands_for) if name is not None]
    async with _reading(connection, path):
        others = await connection.fetchval(statement("catalog", "has_others"), schema)
        rows = await connection.fetch(_list(others=others), schema, list(exclude))
    hidden: list[str] = []
    found: list[CatalogObject] = []
    columns: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for kind, name, definition, position in rows:
        if kind == "hidden":
            hidden.append(name)
            continue
        found.append(CatalogObject(kind, name, definition))
        if position is not None:
            table, column = _split(name)
            columns[table].append((position, column))
    found += [
        CatalogObject(_COLUMN_ORDER, table, ", ".join(column for _, column in sorted(names)))
        for table, names in columns.items()
    ]
    return tuple(sorted(_normalised(schema, hidden, found)))


@cache
def _list(*, others: bool) -> str:
    marker = f"'{OWN_NAME}'"
    part = statement("catalog_objects", "others", marker=marker) if others else ""
    return statement("catalog", "list", marker=marker, others=part)


@asynccontextmanager
async def _reading(connection: Any, path: Sequence[str]) -> AsyncIterator[None]:
    within = "_within" if connection.is_in_transaction() else ""
    settings = statement("catalog", "settings", path=", ".join(map(quote, path)))
    try:
        await connection.execute(statement("catalog", f"begin{within}") + ";\n" + settings)
        yield
    finally:
        if is_alive(connection) and connection.is_in_transaction():
            await connection.execute(statement("catalog", f"end{within}"))


def _split(name: str) -> tuple[str, str]:
    """``table.column`` in its parts, either of which may be quoted."""
    match = _TABLE.match(name)
    assert match is not None
    return match[1], name[match.end() :]


def _normalised(schema: str, hidden: Sequence[str], found: list[CatalogObject]) -> list[CatalogObject]:
    """``found`` without what is left of the name of ``schema``: PostgreSQL leaves it out where it means an object.

    It does not where something in pg_catalog has the name of the object, one of ``hidden``; and in a string it cannot
    know: there, the name as templates write it counts.
    """
    quoted = quote(schema)
    prefix = rf"""(?<![\w$".])(?:{re.escape(schema)}|{re.escape(quoted)})\."""

    def in_literal(match: re.Match[str]) -> str:
        return match[0].replace(quoted, OWN_NAME) if match[0].startswith("'") else match[0]

    def normalised(text: str) -> str:
        if quoted in text:
            text = _QUOTED.sub(in_literal, text)
        # A query of a WITH clause hides the table of its name.
        names = {*hidden, *(name.strip('"') for name in _WITH_QUERY.findall(text))} if "WITH" in text else {*hidden}
        if names:
            either = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
            text = re.sub(rf"""{prefix}(?="?(?:{either})(?:[^\w$]|$))""", f"{OWN_NAME}.", text)
        return text

    return [
        CatalogObject(one.kind, normalised(one.name), normalised(one.definition))
        if schema in one.definition or schema in one.name
        else one
        for one in found
    ]


def serialise(objects: Iterable[CatalogObject]) -> bytes:
    """The one way in which equal listings are written, whatever their order. :func:`deserialise` reads it."""
    return json.dumps(sorted(objects), ensure_ascii=False, separators=(",", ":")).encode()


def deserialise(listing: bytes) -> tuple[CatalogObject, ...]:
    """The listing that :func:`serialise` wrote."""
    return tuple(CatalogObject(*row) for row in json.loads(listing))


def fingerprint(objects: Iterable[CatalogObject]) -> str:
    """SHA-256, in hex, of the listing; equal for equal listings."""
    return fingerprint_of(serialise(objects))


def fingerprint_of(listing: bytes) -> str:
    """:func:`fingerprint` of what :func:`serialise` wrote."""
    return hashlib.sha256(listing).hexdigest()


def difference(before: Iterable[CatalogObject], after: Iterable[CatalogObject]) -> tuple[Change, ...]:
    """What to do to ``before`` to get ``after``, by kind and name.

    A column that comes or goes is one change: the order of columns is reported where those that stay changed places.
    """
    old = {(one.kind, one.name): one.definition for one in before}
    new = {(one.kind, one.name): one.definition for one in after}
    changes = []
    for kind, name in sorted(old.keys() | new.keys()):
        was, now = old.get((kind, name)), new.get((kind, name))
        if was == now:
            continue
        if was is None:
            changes.append(Change("added", kind, name, None, now))
        elif now is None:
            changes.append(Change("removed", kind, name, was, None))
        elif kind != _COLUMN_ORDER or _moved(was, now):
            changes.append(Change("changed", kind, name, was, now))
    # The order of columns comes and goes with the table.
    return tuple(change for change in changes if change.object_kind != _COLUMN_ORDER or change.kind == "changed")


def _moved(was: str, now: str) -> bool:
    before, after = was.split(", "), now.split(", ")
    staying = (Counter(before) & Counter(after)).keys()
    return [name for name in before if name in staying] != [name for name in after if name in staying]
