"""Changes to all rows, in batches, as a backfill. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .steps import Place, Replacement, Step

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ..rules import SeenStatement
    from ..tables import TableFacts
    from .text import StatementText


def backfill_step(relation: str, key: Sequence[str], sql: str, condition: str | None = None) -> Step:
    """``sql``, an UPDATE or DELETE of ``relation`` without WHERE, in batches of the rows where ``condition`` holds."""
    columns = key[0] if len(key) == 1 else f"({', '.join(key)})"
    both = f" AND {condition}" if condition else ""
    header = f"-- pgdbm:backfill table={relation} key={','.join(key)}"
    return Step(f"{header}\n{sql} WHERE {columns} BETWEEN $from AND $to{both};", Place.BACKFILL)


def fix_every_row(
    statement: SeenStatement, text: StatementText, rules: Collection[str], facts: TableFacts | None
) -> Replacement | None:
    """UPDATE or DELETE without WHERE."""
    others = {"WITH", "USING", "RETURNING", "FROM"} - {"FROM" if text.words[0] == "DELETE" else ""}
    if "PGDBM016" not in rules or facts is None or facts.key is None or not others.isdisjoint(text.words):
        return None
    start = 2 if text.words[0] == "DELETE" else 1
    start += text.words[start] == "ONLY"
    if statement.node.relation.HasField("alias"):
        return None
    key = [text.name(column) for column in facts.key]
    step = backfill_step(text.source(start, text.after_name(start)), key, text.source())
    return Replacement([step], frozenset({"PGDBM016"}))
