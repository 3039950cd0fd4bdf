"""The relations that a query or a statement names, and the lock with which it uses each of them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .lock_modes import LockMode
from .tree import children

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from .tree import Node

_WRITING = frozenset({"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})
_WITH_CLAUSES = _WRITING | {"SelectStmt"}
_NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Reference:
    """A relation that a statement names. ``location`` is an offset in bytes; ``created``: the statement creates it."""

    schema: str
    name: str
    location: int
    mode: LockMode
    created: bool = False
    temporary: bool = False

    @property
    def relation(self) -> str:
        return f"{self.schema}.{self.name}" if self.schema else self.name


def references(message: Node) -> Iterator[Reference]:
    """Every relation that is named in ``message``; names of WITH queries are not relations."""
    yield from _walk(message, _NOTHING, LockMode.ACCESS_SHARE)


def _walk(message: Node, scope: frozenset[str], mode: LockMode) -> Iterator[Reference]:
    kind = message.DESCRIPTOR.name
    if kind == "RangeVar":
        if message.schemaname or message.relname not in scope:
            yield _reference(message, mode)
        return
    if kind == "List":
        # Usually rows of VALUES: a data file has millions of constants.
        for item in message.items:
            if item.WhichOneof("node") != "a_const":
                yield from _walk(item, scope, mode)
        return
    left_out = set()
    if kind in _WITH_CLAUSES and message.HasField("with_clause"):
        left_out.add("with_clause")
        scope = yield from _with_clause(message.with_clause, scope)
    if kind in _WRITING:
        left_out.add("relation")
        yield from _walk(message.relation, _NOTHING, LockMode.ROW_EXCLUSIVE)
    elif kind == "SelectStmt":
        left_out |= {"locking_clause", "from_clause"}
        yield from _from_clause(message, scope, mode)
        # FOR UPDATE applies to subqueries in FROM, and to no others.
        mode = LockMode.ACCESS_SHARE
    elif kind == "IntoClause":
        left_out.add("rel")
        yield _reference(message.rel, LockMode.ACCESS_EXCLUSIVE, created=True)
    for field, part in children(message):
        if field not in left_out:
            yield from _walk(part, scope, mode)


def _reference(named: Node, mode: LockMode, *, created: bool = False) -> Reference:
    temporary = named.relpersistence == "t"
    return Reference(named.schemaname, named.relname, named.location, mode, created, temporary)


def _with_clause(clause: Node, scope: frozenset[str]) -> Generator[Reference, None, frozenset[str]]:
    """The references in WITH; returns the names that the statement can use."""
    tables = [item.common_table_expr for item in clause.ctes]
    names = scope | {table.ctename for table in tables}
    visible = names if clause.recursive else scope
    for table in tables:
        yield from _walk(table.ctequery, visible, LockMode.ACCESS_SHARE)
        visible |= {table.ctename}
    return names


def _from_clause(select: Node, scope: frozenset[str], mode: LockMode) -> Iterator[Reference]:
    everything = mode
    named: set[str] = set()
    for item in select.locking_clause:
        if item.locking_clause.locked_rels:
            named |= {relation.range_var.relname for relation in item.locking_clause.locked_rels}
        else:
            everything = LockMode.ROW_SHARE
    for item in select.from_clause:
        yield from _from_item(item, scope, everything, named)


def _from_item(item: Node, scope: frozenset[str], mode: LockMode, locked: set[str]) -> Iterator[Reference]:
    chosen = item.WhichOneof("node")
    source = getattr(item, chosen)
    if chosen == "join_expr":
        yield from _from_item(source.larg, scope, mode, locked)
        yield from _from_item(source.rarg, scope, mode, locked)
        yield from _walk(source.quals, scope, LockMode.ACCESS_SHARE)
        return
    name = source.alias.aliasname if hasattr(source, "alias") else ""
    if not name and chosen == "range_var":
        name = source.relname
    yield from _walk(source, scope, LockMode.ROW_SHARE if name in locked else mode)
