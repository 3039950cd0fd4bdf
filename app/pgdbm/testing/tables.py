"""Names and conditions that tests give as text, checked before they become SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.templating import check_identifier
from ..pgparse.parse import SQLParseError, parse_tree
from ..pgparse.tree import nested, statement_node
from ..text import sentence

if TYPE_CHECKING:
    from ..core.queries import Queries

_CONDITION = "SELECT WHERE "
_PARTS_OF_A_CONDITION = frozenset({"where_clause", "limit_option", "op"})


def reference(db: Queries, table: str) -> str:
    """``table``, which is ``name`` in the manager's schema or ``schema.name``, as SQL.

    Raises:
        SchemaError: a part is not a plain identifier, or there are more than two.
    """
    parts = table.split(".") if isinstance(table, str) else [table]
    if len(parts) > 2:
        check_identifier(table, "table")
    for part in parts:
        check_identifier(part, "table")
    return db.prepare_query("{{tables." + table + "}}")


def check_condition(where: str) -> str:
    """Return ``where`` if it is a single expression: without a second statement, a further clause or a sub-query.

    Raises:
        ValueError: it is anything else.
    """
    if not isinstance(where, str):
        raise _unsafe(where, "it is not text")
    try:
        statements = parse_tree(_CONDITION + where)
    except SQLParseError as error:
        raise _unsafe(where, str(error)) from None
    if len(statements) != 1 or statements[0].stmt_len:
        raise _unsafe(where, "it contains a semicolon")
    _, select = statement_node(statements[0].stmt)
    if not {field.name for field, _ in select.ListFields()} <= _PARTS_OF_A_CONDITION:
        raise _unsafe(where, "it contains a further clause")
    if any(message.DESCRIPTOR.name == "SubLink" for message in nested(select)):
        raise _unsafe(where, "it contains a sub-query; use db.fetch_value() for it")
    return where


def _unsafe(where: object, reason: str) -> ValueError:
    return ValueError(sentence(f"Unsafe where clause {where!r}: {reason}"))
