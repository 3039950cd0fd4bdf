"""Adding RETURNING to a statement, decided by the PostgreSQL parser rather than by a word search."""

from __future__ import annotations

from functools import lru_cache

from .grammar import TreeTooDeepError, parse_tree


@lru_cache(maxsize=1024)
def with_returning_id(sql: str) -> str:
    """``sql`` with ``RETURNING id`` at its end, unless the statement itself has a RETURNING clause.

    The word in a string, a comment, a name or a sub-query does not count. What the parser refuses is returned with the
    clause added: the server then says what is wrong.
    """
    if "returning" not in sql.lower() and ";" not in sql:
        return f"{sql}\nRETURNING id"
    import postgast  # here, since it takes a quarter of a second and most programs never need it

    try:
        statements = parse_tree(sql)
    except (postgast.PgQueryError, TreeTooDeepError):
        return f"{sql}\nRETURNING id"
    if len(statements) != 1:
        return sql
    raw = statements[0]
    node = getattr(raw.stmt, raw.stmt.WhichOneof("node"))
    # PostgreSQL 18 calls the node's field returning_clause; a statement that cannot have one has no such field.
    if "returning_clause" not in node.DESCRIPTOR.fields_by_name or node.HasField("returning_clause"):
        return sql
    encoded = sql.encode()
    end = raw.stmt_location + raw.stmt_len if raw.stmt_len else len(encoded)
    return encoded[:end].decode() + "\nRETURNING id"
