"""Finds the values of enums that a file adds and uses in one transaction, before anything runs.

PostgreSQL refuses such a use, unless the same transaction created the enum. Only the server knows whether a text is
such a use: it rejects a query with the value as long as the enum does not have it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import asyncpg

from ...core.asyncpg_errors import FAILURES, is_lost
from ...core.templating import literal
from ...errors import MigrationFileError
from ...pgparse.parse import SQLParseError, parse_tree
from ...pgparse.tree import nested, statement_node, strings
from .copy_rows import require_one_statement
from .execution_errors import offset_of
from .session import NO_TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ...core.connection import Connection
    from ...pgparse.tree import Node
    from ..sources.parser import ParsedMigration
    from ..sources.statements import Statement
    from .engine import MigrationEngine

_ADDS = "alter_enum_stmt"
_QUERIES = frozenset({"insert_stmt", "update_stmt", "delete_stmt", "merge_stmt", "select_stmt"})
_NO_SUCH_VALUE = "22P02"
_CAST = "SELECT "
_HINT = "Add the value in a file of its own, before this one."


class NewValue(NamedTuple):
    """A value that a file adds to an enum. ``enum`` is its name as the file has it, and ``name`` its name without a
    schema."""

    enum: str
    name: str
    value: str


class _Use(NamedTuple):
    """A text that may use a new value, and the query that the server rejects if it does.

    ``shift``: what to add to an offset in the query, to get one in the statement.
    """

    value: NewValue
    statement: Statement
    query: str
    shift: int = 0


async def require_usable_values(engine: MigrationEngine, parsed: Sequence[ParsedMigration]) -> None:
    """Raise MigrationFileError if one of ``parsed`` uses a value of an enum in the transaction that adds it."""
    uses: list[tuple[ParsedMigration, _Use]] = []
    earlier: set[tuple[str, str]] = set()
    for migration in parsed:
        if not any(one.kind == _ADDS for one in migration.distinct_traits):
            continue
        added: list[NewValue] = []
        found = list(_uses(migration, added))
        if migration.transactional:
            uses += [(migration, use) for use in found if (use.value.name, use.value.value) not in earlier]
        earlier |= {(one.name, one.value) for one in added}
    if not uses:
        return
    async with engine.db.acquire() as connection:
        entering = engine.script(connection).entering()
        for migration, use in uses:
            offset = await _offset_of_use(connection, entering, use)
            if offset is not None:
                _refuse(migration, use, offset)


def _uses(migration: ParsedMigration, added: list[NewValue]) -> Iterator[_Use]:
    """Possible uses of the values that ``migration`` adds; the values are added to ``added``."""
    text = migration.rendered.text
    for statement in migration.statements:
        if statement.traits.kind == _ADDS:
            added += _added(migration.text_of(statement))
            continue
        for one in added:
            offset = text.find(literal(one.value), statement.start, statement.end) - statement.start
            if offset < 0:
                continue
            if statement.traits.kind in _QUERIES:
                yield _Use(one, statement, migration.text_of(statement))
            elif _has_cast(migration.text_of(statement), one):
                yield _Use(one, statement, f"{_CAST}{literal(one.value)}::{one.enum}", offset - len(_CAST))


def _added(text: str) -> list[NewValue]:
    node = _node(text)
    if node is None or node.old_val:
        return []
    names = strings(node.type_name)
    quoted = ".".join('"' + name.replace('"', '""') + '"' for name in names)
    return [NewValue(quoted, names[-1], node.new_val)]


def _has_cast(text: str, added: NewValue) -> bool:
    """Whether ``text`` casts the value to the enum, or has it in the definition of a column of that type."""
    node = _node(text)
    if node is None:
        return False
    for one in nested(node):
        if one.DESCRIPTOR.name not in ("ColumnDef", "TypeCast") or not one.HasField("type_name"):
            continue
        if strings(one.type_name.names)[-1:] == [added.name] and added.value in _constants(nested(one)):
            return True
    return False


def _constants(nodes: Iterable[Node]) -> Iterator[str]:
    for one in nodes:
        if one.DESCRIPTOR.name == "A_Const" and one.WhichOneof("val") == "sval":
            yield one.sval.sval


def _node(text: str) -> Node | None:
    try:
        return statement_node(parse_tree(text)[0].stmt)[1]
    except (SQLParseError, IndexError):
        return None


async def _offset_of_use(connection: Connection, entering: str, use: _Use) -> int | None:
    """The offset in its statement of a value that the enum does not have yet, according to the server; None if there is
    none."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        if entering:
            await connection.execute(entering)
        await require_one_statement(connection, use.query, NO_TIMEOUT_S)
    except asyncpg.PostgresError as error:
        if is_lost(error):
            raise
        # Any other error, such as a table that the file itself creates, is reported when the statement runs.
        at = offset_of(error)
        if error.sqlstate != _NO_SUCH_VALUE or not use.query.startswith(literal(use.value.value), at):
            return None
        return at + use.shift if use.value.name in str(error) else None
    finally:
        with suppress(*FAILURES):
            await transaction.rollback()
    return None


def _refuse(migration: ParsedMigration, use: _Use, offset: int) -> NoReturn:
    line, column = migration.position(use.statement.start + offset)
    raise MigrationFileError(
        f"{migration.filename}:{line}:{column}: statement {use.statement.number}: the value {literal(use.value.value)} "
        f"of {use.value.name} cannot be used in the transaction that adds it",
        migration.filename,
        line=line,
        column=column,
        hint=_HINT,
    )
