"""Parse trees for tests."""

from __future__ import annotations

from typing import Any

from pgdbm.pgparse.parse import parse_tree
from pgdbm.pgparse.tree import statement_node


def one(sql: str) -> tuple[str, Any]:
    """(kind, node) of the only statement in ``sql``."""
    (raw,) = parse_tree(sql)
    return statement_node(raw.stmt)
