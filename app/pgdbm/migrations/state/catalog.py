"""The objects of a schema as data, with equal definitions for equal objects.

A listing contains neither the name of the schema nor anything that differs between servers, sessions or restarts, so
that listings of one schema at two times, or of two equal schemas, can be compared. PostgreSQL's major versions format
definitions differently: their listings are not equal.

Not listed: the data, the members of extensions, the current values of sequences, operator classes and families, and
objects outside schemas (roles, casts, publications, event triggers).
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections import defaultdict
from contextlib import asynccontextmanager
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from ...core.asyncpg_errors import is_alive
from ...core.templating import check_identifier, quote
from ...patterns import late_pattern
from ...sql import statement

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from asyncpg import Record

    from ...core.connection import Connection

OWN_NAME = "{{schema}}"
"""Replaces the name of the schema."""

COLUMN_ORDER = "column order"
"""The kind of the object that has the names of a table's columns, in order."""

_LONG_ROUND_TRIP_S = 0.01
_TABLE = late_pattern(r"""("(?:[^"]|"")*"|[^".]+)\.""")
_WITH_QUERY = late_pattern(
    r"""(?:WITH(?: RECURSIVE)?|\),)\s+("(?:[^"]|"")*"|[\w$]+)(?:\([^)]*\))?\s+AS\s+(?:NOT )?(?:MATERIALIZED )?\("""
)
_QUOTED = late_pattern(r""""(?:[^"]|"")*"|'(?:[^']|'')*'""")


class CatalogObject(NamedTuple):
    """One object in a schema. ``name`` is unique within its ``kind``. Equal objects have equal definitions.

    Kinds: schema, table, column, column order, constraint, index, view, materialized view, sequence, trigger, rule,
    policy, function, procedure, aggregate, type, statistics, operator, collation, text search dictionary, text search
    configuration, extension, default privileges; and owner, comment and privileges, whose name is the kind and the
    name of their object. Privileges are listed unless they are the defaults of a new object.
    """

    kind: str
    name: str
    definition: str


class Listing(NamedTuple):
    """The objects of a schema, by the relation that they belong to; those that belong to none are under "".

    The sequence of a column belongs to its table. ``has_hidden``: an object has the same name as one in pg_catalog.
    """

    relations: dict[str, list[CatalogObject]]
    has_hidden: bool = False

    @property
    def objects(self) -> tuple[CatalogObject, ...]:
        """All objects, sorted."""
        return tuple(sorted(chain.from_iterable(self.relations.values())))


async def read_catalog(
    connection: Connection, schema: str, exclude: Iterable[str] = (), *, stands_for: str | None = None
) -> tuple[CatalogObject, ...]:
    """The objects in ``schema``, sorted; none if there is no such schema. The arguments are those of
    :func:`read_listing`."""
    return (await read_listing(connection, schema, exclude, stands_for=stands_for)).objects


async def read_listing(
    connection: Connection, schema: str, exclude: Iterable[str] = (), *, stands_for: str | None = None
) -> Listing:
    """The objects in ``schema``; none if there is no such schema.

    ``exclude`` names tables that are not listed, nor is anything that belongs to them. ``stands_for`` is the schema
    that ``schema`` was built as a copy of: objects in it, such as those of an extension, are named as if they were in
    ``schema``.

    Reads in a read-only transaction, or in a savepoint if ``connection`` is in a transaction. It may wait for a lock on
    a view that is being changed, for up to the lock_timeout of the connection.
    """
    async with _reading(connection):
        others = await connection.fetchval(statement("catalog", "has_others"), schema)
        path = _search_path(schema, *(() if stands_for is None else (stands_for,)))
        return _listing(schema, await connection.fetch(_list(others=others), schema, list(exclude), path))


async def read_tables(
    connection: Connection, schema: str, exclude: Iterable[str], tables: Sequence[str], unqualified: Sequence[str]
) -> Listing | None:
    """The part of :func:`read_listing` that belongs to ``tables``, in a time that depends only on them.

    None if creating or changing them may have changed the listing of anything else. ``unqualified`` are the tables that
    statements name without a schema.
    """
    async with _reading(connection):
        rows = await connection.fetch(_list_tables(), schema, list(exclude), _search_path(schema), tables, unqualified)
    if any(row["kind"] == "not alone" for row in rows):
        return None
    listing = _listing(schema, rows)
    # PostgreSQL formats other objects differently if a name is hidden.
    return None if listing.has_hidden else listing


async def plan_tables(connection: Connection, schema: str) -> None:
    """Let the server plan the statement of :func:`read_tables`, which takes several times as long as running it.

    Leaves it unplanned over a network whose round trips would take longer than that.
    """
    started = time.monotonic()
    async with _reading(connection):
        if time.monotonic() - started < _LONG_ROUND_TRIP_S:
            await connection.fetch(_list_tables(), schema, [], _search_path(schema), [], [])


def _search_path(*schemas: str) -> str:
    # After pg_catalog, so that none of their objects is used instead of PostgreSQL's.
    return ", ".join(["pg_catalog", *(quote(check_identifier(name)) for name in schemas), "pg_temp"])


def _listing(schema: str, rows: Iterable[Record]) -> Listing:
    hidden: list[str] = []
    found: list[tuple[str, CatalogObject]] = []
    columns: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for kind, name, definition, position, relation in rows:
        if kind == "hidden":
            hidden.append(name)
            continue
        found.append((relation or "", CatalogObject(kind, name, definition)))
        if position is not None:
            columns[relation].append((position, _split(name)[1]))
    found += [
        (table, CatalogObject(COLUMN_ORDER, table, ", ".join(column for _, column in sorted(names))))
        for table, names in columns.items()
    ]
    relations: dict[str, list[CatalogObject]] = defaultdict(list)
    for relation, one in _normalized(schema, hidden, found):
        relations[relation].append(one)
    return Listing(dict(relations), bool(hidden))


@cache
def _list(*, others: bool) -> str:
    marker = f"'{OWN_NAME}'"
    part = statement("catalog_objects", "others", marker=marker) if others else ""
    return statement(
        "catalog",
        "list",
        marker=marker,
        others=part,
        of_other_relations=statement("catalog", "of_other_relations"),
        **_parts(marker),
    )


@cache
def _list_tables() -> str:
    return statement("catalog", "list_tables", are_alone=statement("catalog", "are_alone"), **_parts(f"'{OWN_NAME}'"))


def _parts(marker: str) -> dict[str, str]:
    parts = {name: statement("catalog", name) for name in ("space", "rel", "of_tables", "is_hidden")}
    return parts | {"rows": statement("catalog", "rows", marker=marker)}


@asynccontextmanager
async def _reading(connection: Connection) -> AsyncIterator[None]:
    within = "_within" if connection.is_in_transaction() else ""
    try:
        await connection.execute(statement("catalog", f"begin{within}") + ";\n" + statement("catalog", "settings"))
        yield
    finally:
        if is_alive(connection) and connection.is_in_transaction():
            await connection.execute(statement("catalog", f"end{within}"))


def _split(name: str) -> tuple[str, str]:
    """The parts of ``table.column``, either of which may be quoted."""
    match = _TABLE.match(name)
    assert match is not None
    return match[1], name[match.end() :]


def _normalized(
    schema: str, hidden: Sequence[str], found: list[tuple[str, CatalogObject]]
) -> list[tuple[str, CatalogObject]]:
    """``found`` with the name of ``schema`` removed where PostgreSQL has written it in front of an object's name.

    PostgreSQL writes it if pg_catalog has an object of the same name (these are ``hidden``), and within strings, where
    the name is replaced in the form that templates produce.
    """
    quoted = quote(schema)
    prefix = rf"""(?<![\w$".])(?:{re.escape(schema)}|{re.escape(quoted)})\."""

    def in_literal(match: re.Match[str]) -> str:
        return match[0].replace(quoted, OWN_NAME) if match[0].startswith("'") else match[0]

    def normalized(text: str) -> str:
        if quoted in text:
            text = _QUOTED.sub(in_literal, text)
        # A WITH query hides a table with the same name.
        names = {*hidden, *(name.strip('"') for name in _WITH_QUERY.findall(text))} if "WITH" in text else {*hidden}
        if names:
            either = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
            text = re.sub(rf"""{prefix}(?="?(?:{either})(?:[^\w$]|$))""", f"{OWN_NAME}.", text)
        return text

    return [
        (relation, CatalogObject(one.kind, normalized(one.name), normalized(one.definition)))
        if schema in one.definition or schema in one.name
        else (relation, one)
        for relation, one in found
    ]


def serialize(objects: Iterable[CatalogObject]) -> bytes:
    """The listing as bytes, which do not depend on the order of the objects. :func:`deserialize` reads it."""
    return json.dumps(sorted(objects), ensure_ascii=False, separators=(",", ":")).encode()


def deserialize(listing: bytes) -> tuple[CatalogObject, ...]:
    """The inverse of :func:`serialize`."""
    return tuple(CatalogObject(*row) for row in json.loads(listing))


def fingerprint_of(listing: bytes) -> str:
    """SHA-256, in hex, of a serialized listing."""
    return hashlib.sha256(listing).hexdigest()
