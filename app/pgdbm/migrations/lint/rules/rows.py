"""Rules about changes of rows and values."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ....pgparse.tree import nested, relation_name
from .rule import Hit, rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .rule import SeenFile, SeenStatement

_CHANGES_ROWS = re.compile(r"\b(?:update|delete)\b", re.IGNORECASE)


@rule(
    "PGDBM016",
    "every-row",
    "warning",
    "update_stmt",
    "delete_stmt",
    "insert_stmt",
    "merge_stmt",
    "select_stmt",
    advice="Add a WHERE, and process large tables in batches, in a file without a transaction.",
)
def every_row(statement: SeenStatement, file: SeenFile) -> Iterator[Hit]:
    # Also inside WITH.
    text = file.parsed.rendered.text
    if not _CHANGES_ROWS.search(text, statement.start, statement.end):
        return
    for message in nested(statement.node):
        kind = message.DESCRIPTOR.name
        if kind not in ("UpdateStmt", "DeleteStmt") or message.HasField("where_clause"):
            continue
        table = relation_name(message.relation)
        if not file.is_new(table):
            done = "UPDATE" if kind == "UpdateStmt" else "DELETE"
            yield Hit(
                f"{done} without WHERE touches every row of {table}, and holds its lock on each until the commit.",
                message.relation.location,
            )


@rule(
    "PGDBM018",
    "enum-value-used",
    "error",
    advice="Add the value in a file of its own, before the one that uses it.",
)
def enum_value_used(statement: SeenStatement, file: SeenFile) -> Iterator[Hit]:
    if not file.parsed.transactional or not file.enum_values:
        return
    for message in nested(statement.node):
        if message.DESCRIPTOR.name != "A_Const" or message.WhichOneof("val") != "sval":
            continue
        enum = file.enum_values.get(message.sval.sval)
        if enum is not None:
            yield Hit(
                f"'{message.sval.sval}' is a new value of {enum}: it cannot be used in the transaction that adds it.",
                message.location,
            )


RULES = (every_row, enum_value_used)
