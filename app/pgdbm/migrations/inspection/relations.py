"""Which relations a query or a statement names, and with which lock it uses each. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .lockmodes import LockMode
from .parsetree import is_repeated

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

_WRITING = frozenset({"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})
_WITH_CLAUSES = _WRITING | {"SelectStmt"}
_NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Reference:
    """A relation where a statement names it. ``location`` is an offset in bytes; ``made``: the statement makes it."""

    schema: str
    name: str
    location: int
    mode: LockMode
    made: bool = False
    temporary: bool = False

    @property
    def relation(self) -> str:
        return f"{self.schema}.{self.name}" if self.schema else self.name


def references(message: Any) -> Iterator[Reference]:
    """Every relation that is named in ``message``; names of WITH queries are none."""
    yield from _walk(message, _NOTHING, LockMode.ACCESS_SHARE)


def _walk(message: Any, scope: frozenset[str], mode: LockMode) -> Iterator[Reference]:
    kind = message.DESCRIPTOR.name
    if kind == "RangeVar":
        if message.schemaname or message.relname not in scope:
            yield _reference(message, mode)
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
        # FOR UPDATE reaches into the subqueries of FROM, and nowhere else.
        mode = LockMode.ACCESS_SHARE
    elif kind == "IntoClause":
        left_out.add("rel")
        yield _reference(message.rel, LockMode.ACCESS_EXCLUSIVE, made=True)
    for field, value in message.ListFields():
        if field.message_type is None or field.name in left_out:
            continue
        for part in value if is_repeated(value) else (value,):
            yield from _walk(part, scope, mode)


def _reference(named: Any, mode: LockMode, *, made: bool = False) -> Reference:
    temporary = named.relpersistence == "t"
    return Reference(named.schemaname, named.relname, named.location, mode, made, temporary)


def _with_clause(clause: Any, scope: frozenset[str]) -> Generator[Reference, None, frozenset[str]]:
    """The references in WITH; returns the names that the statement can use."""
    tables = [item.common_table_expr for item in clause.ctes]
    names = scope | {table.ctename for table in tables}
    visible = names if clause.recursive else scope
    for table in tables:
        yield from _walk(table.ctequery, visible, LockMode.ACCESS_SHARE)
        visible |= {table.ctename}
    return names


def _from_clause(select: Any, scope: frozenset[str], mode: LockMode) -> Iterator[Reference]:
    everything = mode
    named: set[str] = set()
    for item in select.locking_clause:
        if item.locking_clause.locked_rels:
            named |= {relation.range_var.relname for relation in item.locking_clause.locked_rels}
        else:
            everything = LockMode.ROW_SHARE
    for item in select.from_clause:
        yield from _from_item(item, scope, everything, named)


def _from_item(item: Any, scope: frozenset[str], mode: LockMode, locked: set[str]) -> Iterator[Reference]:
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
