"""Names and clauses of SQL that tests give us as text, checked before they are used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..core.identifiers import check_identifier

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..core.queries import Queries

_CONDITION = "SELECT WHERE "
_PARTS_OF_A_CONDITION = frozenset({"where_clause", "limit_option", "op"})


def reference(db: Queries, table: str) -> str:
    """``table`` (``name``, in the manager's schema, or ``schema.name``) as it is written in SQL.

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
    """Return ``where`` if it is one expression and nothing else: no second statement or clause, and no sub-query.

    Raises:
        ValueError: it is something else, or nothing.
    """
    import postgast  # here, since it takes a quarter of a second and most programs never need it

    if not isinstance(where, str):
        raise ValueError(f"A condition is text, not {type(where).__name__}.")
    try:
        statements = postgast.parse(_CONDITION + where).stmts
    except postgast.PgQueryError as error:
        raise ValueError(f"Not a condition: {where!r}: {error}") from None
    if len(statements) != 1 or statements[0].stmt_len:
        raise ValueError(f"A condition has no semicolon behind it: {where!r}.")
    statement = statements[0].stmt
    select = getattr(statement, statement.WhichOneof("node"))
    if not {field.name for field, _ in select.ListFields()} <= _PARTS_OF_A_CONDITION:
        raise ValueError(f"A condition is one expression, without further clauses: {where!r}.")
    if any(message.DESCRIPTOR.name == "SubLink" for message in _messages(select)):
        raise ValueError(f"A condition has no sub-query: {where!r}. Use db.fetch_value() for it.")
    return where


def _messages(message: Any) -> Iterator[Any]:
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for child in value if field.is_repeated else (value,):
                yield from _messages(child)
