"""Rules about locks that block other sessions for a long time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ....pgparse.lock_modes import LockMode
from ....pgparse.tree import object_type, option_is_on
from .rule import Hit, rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .rule import SeenFile, SeenStatement

_NO_TABLES = frozenset({"INDEX", "SEQUENCE", "TYPE", "VIEW"})
_REWRITES = {
    "AT_SetAccessMethod": "SET ACCESS METHOD",
    "AT_SetLogged": "SET LOGGED",
    "AT_SetTableSpace": "SET TABLESPACE",
    "AT_SetUnLogged": "SET UNLOGGED",
}


def _is_about_tables(statement: SeenStatement) -> bool:
    for field in ("objtype", "remove_type", "rename_type", "object_type"):
        if field in statement.node.DESCRIPTOR.fields_by_name:
            about = object_type(statement.node, field)
            if about == "COLUMN" and statement.kind == "rename_stmt":
                about = object_type(statement.node, "relation_type")
            return about not in _NO_TABLES
    return statement.kind not in ("view_stmt", "reindex_stmt")


@rule(
    "PGDBM011",
    "many-exclusive-locks",
    "warning",
    advice="Change one such table per file: each file then waits for one lock at a time, and holds it only briefly.",
)
def many_exclusive_locks(statement: SeenStatement, file: SeenFile) -> Iterator[Hit]:
    if not file.parsed.transactional or not _is_about_tables(statement):
        return
    locked = {
        lock.relation
        for lock in statement.locks
        if lock.mode is LockMode.ACCESS_EXCLUSIVE and lock.relation is not None and not file.is_new(lock.relation)
    }
    before = set(file.exclusive)
    file.exclusive |= locked
    if len(before) < 2 <= len(file.exclusive):
        yield Hit(
            f"One transaction blocks reads and writes of {', '.join(sorted(file.exclusive))}: it holds the first lock "
            "while it waits for the next, and programs that use the tables in another order run into a deadlock."
        )


@rule(
    "PGDBM017",
    "lock-table",
    "warning",
    "lock_stmt",
    advice="Remove it: each statement takes the lock that it needs, and the engine has its own lock.",
)
def lock_table(statement: SeenStatement, file: SeenFile) -> Iterator[Hit]:
    names = [lock.relation for lock in statement.locks if lock.relation and not file.is_new(lock.relation)]
    if names:
        mode = LockMode(statement.node.mode)
        yield Hit(f"{mode.sql} on {', '.join(names)} is held until the end of the transaction.")


@rule(
    "PGDBM020",
    "full-rewrite",
    "warning",
    "vacuum_stmt",
    "cluster_stmt",
    "alter_table_stmt",
    "alter_table_move_all_stmt",
    advice="Plain VACUUM makes space for new rows; if the table must become smaller, copy it to a new one in batches.",
    squawk=("prefer-repack",),
)
def full_rewrite(statement: SeenStatement, file: SeenFile) -> Iterator[Hit]:
    done: str | None = None
    if statement.kind == "vacuum_stmt":
        done = "VACUUM FULL" if option_is_on(statement.node.options, "full") else None
    elif statement.kind == "cluster_stmt":
        done = "CLUSTER"
    elif statement.kind == "alter_table_move_all_stmt":
        done = "SET TABLESPACE"
    elif not file.is_new(statement.table):
        done = next((_REWRITES[kind] for kind, *_ in statement.commands if kind in _REWRITES), None)
    if done:
        yield Hit(f"{done} rewrites the whole table, and blocks reads and writes.")


@rule(
    "PGDBM026",
    "refresh-blocks-reads",
    "warning",
    "refresh_mat_view_stmt",
    advice="REFRESH MATERIALIZED VIEW CONCURRENTLY, which needs a unique index on the view.",
)
def refresh_blocks_reads(statement: SeenStatement, file: SeenFile) -> Iterator[Hit]:
    if not statement.node.concurrent and not file.is_new(statement.table):
        yield Hit(f"Reads of {statement.table} are blocked while its query runs.")


@rule(
    "PGDBM030",
    "detach-blocks",
    "warning",
    "alter_table_stmt",
    advice="DETACH PARTITION … CONCURRENTLY, in a file with the line -- pgdbm:no-transaction.",
    squawk=("require-concurrent-partition-detach",),
)
def detach_blocks(statement: SeenStatement, file: SeenFile) -> Iterator[Hit]:
    for kind, _, about in statement.commands:
        if kind == "AT_DetachPartition" and not about.concurrent and not file.is_new(statement.table):
            yield Hit(f"Reads and writes of {statement.table} and all of its partitions are blocked until the commit.")


RULES = (many_exclusive_locks, lock_table, full_rewrite, refresh_blocks_reads, detach_blocks)
