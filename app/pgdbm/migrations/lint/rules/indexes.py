"""Rules about indexes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ....pgparse.tree import enum_name, option_is_on
from .rule import Hit, dropped, rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .rule import SeenFile, SeenStatement

_OUTSIDE = "in a file with the line -- pgdbm:no-transaction."


@rule(
    "PGDBM009",
    "index-blocks-writes",
    "warning",
    "index_stmt",
    advice=f"CREATE INDEX CONCURRENTLY, {_OUTSIDE}",
    squawk=("require-concurrent-index-creation",),
)
def index_blocks_writes(statement: SeenStatement, file: SeenFile) -> Iterator[Hit]:
    node = statement.node
    # ON ONLY creates the entry for a partitioned table, and builds nothing.
    if not node.concurrent and node.relation.inh and not file.is_new(statement.table):
        yield Hit(f"Writes to {statement.table} are blocked while the index is built.")


@rule(
    "PGDBM015",
    "unnamed-concurrent-index",
    "warning",
    "index_stmt",
    advice="Name it: CREATE INDEX CONCURRENTLY name ON ….",
)
def unnamed_concurrent_index(statement: SeenStatement, _file: SeenFile) -> Iterator[Hit]:
    if statement.node.concurrent and not statement.node.idxname:
        yield Hit(
            "An index without a name that fails halfway stays INVALID under a name that the server chose, and the "
            "next attempt builds another one beside it."
        )


@rule(
    "PGDBM027",
    "reindex-blocks",
    "warning",
    "reindex_stmt",
    advice=f"REINDEX … CONCURRENTLY, {_OUTSIDE}",
    squawk=("require-concurrent-reindex",),
)
def reindex_blocks(statement: SeenStatement, _file: SeenFile) -> Iterator[Hit]:
    system = enum_name(statement.node, "kind") == "REINDEX_OBJECT_SYSTEM"
    if not system and not option_is_on(statement.node.params, "concurrently"):
        yield Hit("Writes to the table are blocked while its indexes are rebuilt, and most reads wait as well.")


@rule(
    "PGDBM028",
    "drop-index-blocks",
    "warning",
    "drop_stmt",
    advice=f"DROP INDEX CONCURRENTLY, {_OUTSIDE}",
    squawk=("require-concurrent-index-deletion",),
)
def drop_index_blocks(statement: SeenStatement, _file: SeenFile) -> Iterator[Hit]:
    about, names = dropped(statement)
    if about == "INDEX" and not statement.node.concurrent:
        yield Hit(
            f"Dropping {', '.join(names)} blocks reads and writes of its table, and while the statement waits "
            "for a long query, later queries wait behind it."
        )


RULES = (index_blocks_writes, unnamed_concurrent_index, reindex_blocks, drop_index_blocks)
