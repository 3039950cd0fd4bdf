"""The safer form of an ALTER TABLE: each of its subcommands by itself, unchanged or replaced. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .columns import fix_add_column, fix_column_type
from .constraints import fix_constraint, fix_set_not_null, fix_validate
from .steps import Replacement, Step
from .subcommand import Subcommand

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from ..rules import SeenStatement
    from ..tables import TableFacts
    from .text import StatementText

_FIXERS: dict[str, Callable[[Subcommand, Collection[str]], Replacement | None]] = {
    "AT_AddColumn": fix_add_column,
    "AT_AddConstraint": fix_constraint,
    "AT_AlterColumnType": fix_column_type,
    "AT_SetNotNull": fix_set_not_null,
    "AT_ValidateConstraint": fix_validate,
}


def fix_alter_table(
    statement: SeenStatement, text: StatementText, rules: Collection[str], facts: TableFacts | None
) -> Replacement | None:
    begin = _relation_start(text)
    end = text.after_name(begin)
    relation = text.source(begin, end)
    if end < len(text.words) and text.words[end] == "*":
        end += 1
    head = text.source(0, end)
    pieces = list(text.split(end))
    if len(pieces) != len(statement.commands):
        return None
    table = statement.node.relation.relname
    steps: list[Step] = []
    settled: set[str] = set()
    notes: list[str] = []
    for piece, (kind, node, about) in zip(pieces, statement.commands, strict=True):
        fix = _FIXERS.get(kind)
        made = fix(Subcommand(text, piece, head, relation, table, node, about, facts), rules) if fix else None
        if made is None:
            made = Replacement([Step(f"{head} {piece.source()};")], frozenset())
        steps += (made.steps[0]._replace(sql=piece.commented(made.steps[0].sql)), *made.steps[1:])
        settled |= made.rules
        notes += [made.note] if made.note else []
    return Replacement(steps, frozenset(settled), " ".join(dict.fromkeys(notes)) or None) if settled else None


def _relation_start(text: StatementText) -> int:
    """The token with which the name of the table begins."""
    start = 3 if text.words[1] in ("FOREIGN", "MATERIALIZED") else 2
    if text.words[start : start + 2] == ["IF", "EXISTS"]:
        start += 2
    return start + 1 if text.words[start] == "ONLY" else start
