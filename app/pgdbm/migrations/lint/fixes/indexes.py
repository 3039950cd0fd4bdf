"""The safer form of statements about indexes and materialized views: CONCURRENTLY. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ....pgparse.tree import enum_name, strings
from .steps import Place, Replacement, Step
from .text import default_name

if TYPE_CHECKING:
    from collections.abc import Collection

    from ....pgparse.tree import Node
    from ..rules import SeenStatement
    from .text import StatementText

_CONCURRENTLY = "CONCURRENTLY"


def fix_create_index(statement: SeenStatement, text: StatementText, _rules: Collection[str]) -> Replacement | None:
    node = statement.node
    inserted = _CONCURRENTLY
    if not node.idxname:
        columns = [_column_of(item.index_elem) for item in node.index_params]
        inserted += f" {text.name(default_name(node.relation.relname, columns, 'idx'))}"
    sql = text.with_text((text.words.index("INDEX"), inserted)) if not node.concurrent else None
    if sql is None:
        sql = text.with_text((text.words.index(_CONCURRENTLY), inserted.removeprefix(f"{_CONCURRENTLY} ")))
    return Replacement([Step(f"{sql};", Place.OUTSIDE)], frozenset({"PGDBM009", "PGDBM015"}))


def _column_of(element: Node) -> str:
    """The part of an index's name that comes from an element."""
    if element.name:
        return str(element.name)
    chosen = element.expr.WhichOneof("node")
    return strings(element.expr.func_call.funcname)[-1] if chosen == "func_call" else "expr"


def fix_drop_index(statement: SeenStatement, text: StatementText, _rules: Collection[str]) -> Replacement | None:
    if enum_name(statement.node, "behavior") == "DROP_CASCADE":
        return None
    begin = 4 if statement.node.missing_ok else 2
    end = len(text.words) - 1 if text.words[-1] == "RESTRICT" else None
    exists = "IF EXISTS " if statement.node.missing_ok else ""
    steps = [
        Step(piece.commented(f"DROP INDEX {_CONCURRENTLY} {exists}{piece.source()};"), Place.OUTSIDE)
        for piece in text.part(0, end).split(begin)
    ]
    return Replacement(steps, frozenset({"PGDBM028"}))


def fix_reindex(statement: SeenStatement, text: StatementText, _rules: Collection[str]) -> Replacement | None:
    what = enum_name(statement.node, "kind").removeprefix("REINDEX_OBJECT_")
    place = text.find(what)
    if place is None or what == "SYSTEM":
        return None
    sql = text.with_text((place, _CONCURRENTLY))
    return Replacement([Step(f"{sql};", Place.OUTSIDE)], frozenset({"PGDBM027"}))


def fix_refresh(_statement: SeenStatement, text: StatementText, _rules: Collection[str]) -> Replacement | None:
    if text.words[-3:] == ["WITH", "NO", "DATA"]:
        return None
    sql = text.with_text((text.words.index("VIEW"), _CONCURRENTLY))
    note = "The view needs a unique index on columns alone, without WHERE."
    return Replacement([Step(f"{sql};")], frozenset({"PGDBM026"}), note)
