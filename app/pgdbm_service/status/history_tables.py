"""The history tables of a database: which schemas have one, and which modules are in them."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import asyncpg
import msgspec

from pgdbm.core.creation import NOT_THERE
from pgdbm.core.templating import quote
from pgdbm.errors import QueryError
from pgdbm.migrations.state.journal import TABLE as JOURNAL_TABLE

from ..database.rows import numbered, reading_rows
from ..database.service_schema import SERVICE_SCHEMA
from ..database.sql import statement

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from pgdbm.core.manager import AsyncDatabaseManager
    from pgdbm.core.queries import Queries
    from pgdbm.migrations import Migration

T = TypeVar("T")

HISTORY_TABLE = "schema_migrations"
IN_STATEMENT = 100
"""The number of schemas that one statement reads."""
_MANY = 2000

_COLUMNS = ["id", "filename", "checksum", "module_name", "applied_at"]


def _may_read(table: str) -> str:
    return statement("histories", "may_read", table=table, is_own=statement("histories", "is_own", table=table))


_PARTS = {name: statement("histories", name) for name in ("has_columns", "locked")} | {
    "is_huge": statement("histories", "is_huge", table="c"),
    "is_huge_journal": statement("histories", "is_huge", table="j"),
    "may_read": _may_read("c"),
    "may_read_journal": _may_read("j"),
}
_TABLES = statement("histories", "tables", **_PARTS)
_DROPPED = frozenset({"42P01", "3F000"})


class Reader(NamedTuple):
    """The reader of histories: a database user, and the logins whose tables it does not read.

    Reading a table can execute functions of its owner.
    """

    db: AsyncDatabaseManager
    logins: Sequence[str] = ()
    is_login: bool = False

    @property
    def forbidden(self) -> list[str] | None:
        """The parameter $4 of statements with ``may_read``."""
        return None if self.is_login else list(self.logins)


class HistoryTable(msgspec.Struct, frozen=True):
    """Whether the history table of a schema may be read, whether there is a journal beside it that may be read, and
    whether reading them would take long: a session has locked one of them, or the history has a hundred thousand rows.
    """

    readable: bool
    has_journal: bool
    slow: bool


class HistoryModule(msgspec.Struct, frozen=True):
    """A module in the history table of one schema. ``last_filename`` is the file that was applied last."""

    schema: str
    name: str
    applied: int
    last_filename: str


async def modules_in_history(reader: Reader, among: Collection[str] | None = None) -> list[HistoryModule]:
    """The modules in every history table that may be read, by schema and name; only in the schemas ``among``, if
    given."""
    try:
        return await _read_modules(reader, among)
    except QueryError as error:
        if not was_dropped(error):
            raise
        return await _read_modules(reader, among)


async def schemas_with_history(reader: Reader) -> list[str]:
    """The schemas with a history table that may be read, by name."""
    query = statement("histories", "tables_by_name", tables=_TABLES)
    rows = await reader.db.fetch_all(query, HISTORY_TABLE, _COLUMNS, SERVICE_SCHEMA, reader.forbidden)
    return [row["schema"] for row in rows]


async def has_few_histories(reader: Reader, few: int) -> bool:
    """Whether at most ``few`` history tables may be read; just as fast if there are many."""
    query = statement("histories", "count_tables", tables=_TABLES)
    values = HISTORY_TABLE, _COLUMNS, SERVICE_SCHEMA, reader.forbidden
    found: int = await reader.db.fetch_value(query, *values, few + 1)
    return found <= few


async def tables_among(reader: Reader, schemas: Collection[str]) -> dict[str, HistoryTable]:
    """The history tables in ``schemas``, by schema."""
    query = statement("histories", "tables_among", **_PARTS)
    values = HISTORY_TABLE, _COLUMNS, SERVICE_SCHEMA, reader.forbidden
    rows = await reader.db.fetch_all(query, *values, list(schemas), JOURNAL_TABLE)
    with reading_rows():
        return {row.pop("schema"): HistoryTable(**row) for row in rows}


async def readable_among(reader: Reader, schemas: Collection[str], *, check_own: bool = True) -> list[str]:
    """Which of ``schemas`` have a history table that may be read, and can be read quickly.

    Without ``check_own``, tables of the reader's own user are included even if a column is missing.
    """
    unless_own = "false" if check_own else statement("histories", "is_own", table="c")
    query = statement("histories", "readable_among", **_PARTS, unless_own=unless_own)
    values = HISTORY_TABLE, _COLUMNS, SERVICE_SCHEMA, reader.forbidden, list(schemas)
    return await reader.db.fetch_value(query, *values) or []


async def schemas_with_pending(
    reader: Reader,
    module: str,
    schemas: Sequence[str],
    files: Sequence[Migration],
    *,
    as_now: bool = True,
    started: set[str] | None = None,
) -> list[str]:
    """The ``schemas``, in their order, whose history does not have every one of ``files``.

    ``as_now``: only files applied with their current content count; otherwise with any content. The schemas whose
    history has some of them under the name of ``module``, but not all, are added to ``started``.
    """
    files_as_now = [(file.filename, file.checksum if as_now else None) for file in files]
    # Half of many schemas each, over two connections: the server compares them at the same time.
    middle = len(schemas) // 2 // IN_STATEMENT * IN_STATEMENT if len(schemas) >= _MANY else 0
    parts = [part for part in (schemas[:middle], schemas[middle:]) if part]
    found = await asyncio.gather(*(_unequal(reader, module, part, files_as_now) for part in parts))
    pending = {schema: is_started for part in found for schema, is_started in part.items()}
    if started is not None:
        started.update(schema for schema, is_started in pending.items() if is_started)
    return [schema for schema in schemas if schema in pending]


async def _unequal(
    reader: Reader, module: str, schemas: Sequence[str], files: Sequence[tuple[str, str | None]]
) -> dict[str, bool]:
    """The ``schemas`` that do not have every one of ``files``, each with whether it has any."""
    may_read = set(await readable_among(reader, schemas, check_own=False))
    # Always in the same order, so that the connection has already prepared the statements.
    readable = [schema for schema in schemas if schema in may_read]
    found = await _compare(reader, readable, module, files)
    if found.not_read:
        # Some of the user's own tables belong to other tools and have different columns.
        complete = set(await readable_among(reader, found.not_read))
        left = [schema for schema in found.not_read if schema in complete]
        again = await _compare(reader, left, module, files)
        # Tables that still cannot be read are reported when the schemas are migrated.
        unread = set(found.not_read).difference(complete).union(again.not_read)
        found.incomplete.update(again.incomplete | dict.fromkeys(unread, False))
    return found.incomplete | dict.fromkeys((schema for schema in schemas if schema not in may_read), False)


class _Comparison:
    """Schemas whose history does not have every file, each with whether it has any; and those that were
    ``not_read``."""

    def __init__(self) -> None:
        self.incomplete: dict[str, bool] = {}
        self.not_read: list[str] = []


async def _compare(
    reader: Reader, schemas: Sequence[str], module: str, files: Sequence[tuple[str, str | None]]
) -> _Comparison:
    comparison = _Comparison()
    names, checksums = [name for name, _ in files], [checksum for _, checksum in files]
    async with reader.db.acquire() as connection:
        if not reader.db.has_direct_connection:
            # This keeps the plan for the next call. The pool resets the setting, but a transaction pooler would not.
            await connection.execute(statement("histories", "keep_plans"))
        for some in chunks(schemas):
            try:
                rows = await connection.fetch(_incomplete(tuple(some)), module, names, checksums, len(some))
            except NOT_THERE:
                # Migrating the schemas reports which one was dropped.
                comparison.incomplete.update(dict.fromkeys(some, False))
            except asyncpg.SyntaxOrAccessError:
                comparison.not_read += some
            else:
                with reading_rows():
                    comparison.incomplete.update((numbered(some, row), row["is_started"]) for row in rows)
    return comparison


@lru_cache(maxsize=256)
def _incomplete(schemas: tuple[str, ...]) -> str:
    rows = statement("histories", "rows", number="{number}", history="{history}")
    parts = (rows.format(number=number, history=history_of(schema)) for number, schema in enumerate(schemas))
    return statement("histories", "incomplete", rows=" UNION ALL ".join(parts))


async def count_applied(db: Queries, schema: str, module: str, filenames: Sequence[str]) -> int:
    """How many of these files of ``module`` are in the history of ``schema``; 0 if it has no history yet."""
    query = statement("histories", "count_applied", number="0", history=history_of(schema))
    try:
        rows = await db.fetch_all(query, module, list(filenames), [None] * len(filenames))
    except QueryError as error:
        if was_dropped(error):
            return 0
        raise
    count: int = rows[0]["applied"]
    return count


def was_dropped(error: QueryError) -> bool:
    """Whether a schema or a table was dropped after it was found: tenants come and go."""
    return error.details.get("sqlstate") in _DROPPED


def history_of(schema: str) -> str:
    """The name of the history table of ``schema``, quoted."""
    return f"{quote(schema)}.{quote(HISTORY_TABLE)}"


def chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """``items`` in parts that a single statement can read."""
    return (items[start : start + IN_STATEMENT] for start in range(0, len(items), IN_STATEMENT))


async def _read_modules(reader: Reader, among: Collection[str] | None) -> list[HistoryModule]:
    if among is None:
        schemas = await schemas_with_history(reader)
    else:
        schemas = await readable_among(reader, among)
    found: list[HistoryModule] = []
    for some in chunks(schemas):
        query = " UNION ALL ".join(
            statement("histories", "modules", number=str(number), history=history_of(schema))
            for number, schema in enumerate(some)
        )
        for row in await reader.db.fetch_all(query):
            with reading_rows():
                module = HistoryModule(numbered(some, row), row["module_name"], row["applied"], row["last_filename"])
            found.append(module)
    return sorted(found, key=lambda module: (module.schema, module.name))
