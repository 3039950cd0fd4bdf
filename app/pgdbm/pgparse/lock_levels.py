"""The table-level locks that a statement takes: which mode, on which relation. Pure.

They are derived from the text: triggers, functions, foreign keys and views may involve more relations at run time. A
relation that the statement itself creates is not listed, because it is invisible to others. The levels are those of
PostgreSQL 14 to 18; the tests compare each one with the locks that a server takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lock_modes import Blocks, LockMode, StatementLock, strongest
from .relations import references
from .tree import (
    alter_commands,
    column_constraints,
    definition,
    enum_name,
    name_parts,
    object_names,
    object_type,
    option_is_on,
    relation_name,
    strings,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .tree import Node

__all__ = ["OPAQUE", "Blocks", "LockMode", "StatementLock", "blocks_of", "locks_of"]

_NEWEST = 18
_FULL = LockMode.ACCESS_EXCLUSIVE
_TRIGGERS = LockMode.SHARE_ROW_EXCLUSIVE
_MAINTENANCE = LockMode.SHARE_UPDATE_EXCLUSIVE

# Subcommands that are not listed take ACCESS EXCLUSIVE.
_LEVELS = {
    "AT_AttachPartition": _MAINTENANCE,
    "AT_ClusterOn": _MAINTENANCE,
    "AT_DetachPartitionFinalize": _MAINTENANCE,
    "AT_DisableTrig": _TRIGGERS,
    "AT_DisableTrigAll": _TRIGGERS,
    "AT_DisableTrigUser": _TRIGGERS,
    "AT_DropCluster": _MAINTENANCE,
    "AT_EnableAlwaysTrig": _TRIGGERS,
    "AT_EnableReplicaTrig": _TRIGGERS,
    "AT_EnableTrig": _TRIGGERS,
    "AT_EnableTrigAll": _TRIGGERS,
    "AT_EnableTrigUser": _TRIGGERS,
    "AT_ResetOptions": _MAINTENANCE,
    "AT_SetOptions": _MAINTENANCE,
    "AT_SetStatistics": _MAINTENANCE,
    "AT_ValidateConstraint": _MAINTENANCE,
}
# Storage parameters that only maintenance and the planner use; the others affect readers or writers.
_LIGHT_PARAMETERS = frozenset({"deduplicate_items", "fillfactor", "parallel_workers", "toast_tuple_target"})
_LIGHT_PREFIXES = ("autovacuum_", "log_autovacuum_", "vacuum_")


def _alter_table(node: Node) -> Iterator[StatementLock]:
    """The locks of an ALTER TABLE.

    The indexes, the sequences, the partitions and the children of the table are locked as well, and are not listed.
    """
    altered = relation_name(node.relation)
    commands = list(alter_commands(node))
    yield StatementLock(max(_level(kind, command) for kind, command in commands), altered)
    for kind, command in commands:
        yield from _others(kind, command, enum_name(node, "objtype"))


def _referenced_table(constraint: Node) -> Iterator[StatementLock]:
    """A foreign key adds triggers to the other table, too."""
    yield StatementLock(_TRIGGERS, relation_name(constraint.pktable))


def _level(kind: str, command: Node) -> LockMode:
    if kind == "AT_AddConstraint":
        constraint = definition(command).constraint
        return _TRIGGERS if enum_name(constraint, "contype") == "CONSTR_FOREIGN" else _FULL
    if kind == "AT_DetachPartition":
        return _MAINTENANCE if definition(command).partition_cmd.concurrent else _FULL
    if kind in ("AT_SetRelOptions", "AT_ResetRelOptions"):
        options = [item.def_elem.defname for item in definition(command).list.items]
        light = all(name in _LIGHT_PARAMETERS or name.startswith(_LIGHT_PREFIXES) for name in options)
        return _MAINTENANCE if light else _FULL
    return _LEVELS.get(kind, _FULL)


def _others(kind: str, command: Node, object_kind: str) -> Iterator[StatementLock]:
    """Locks of a subcommand besides the one on the altered table."""
    about = definition(command)
    if kind == "AT_AddConstraint":
        if enum_name(about.constraint, "contype") == "CONSTR_FOREIGN":
            yield from _referenced_table(about.constraint)
    elif kind == "AT_AddColumn":
        for constraint_kind, constraint in column_constraints(about.column_def):
            if constraint_kind == "CONSTR_FOREIGN":
                yield from _referenced_table(constraint)
    elif kind in ("AT_DropColumn", "AT_DropConstraint", "AT_AlterColumnType", "AT_AlterConstraint"):
        yield StatementLock(_FULL, None)
    elif kind == "AT_ValidateConstraint":
        yield StatementLock(LockMode.ROW_SHARE, None)
    elif kind == "AT_AttachPartition":
        yield StatementLock(_FULL, relation_name(about.partition_cmd.name))
        yield StatementLock(LockMode.ACCESS_SHARE if object_kind == "OBJECT_INDEX" else _FULL, None)
    elif kind in ("AT_DetachPartition", "AT_DetachPartitionFinalize"):
        yield StatementLock(_FULL, relation_name(about.partition_cmd.name))
        yield StatementLock(_FULL, None)
    elif kind == "AT_AddInherit":
        yield StatementLock(_MAINTENANCE, relation_name(about.range_var))
    elif kind == "AT_DropInherit":
        yield StatementLock(LockMode.ACCESS_SHARE, relation_name(about.range_var))


OPAQUE = frozenset({"call_stmt", "create_extension_stmt", "do_stmt", "execute_stmt", "import_foreign_schema_stmt"})
"""Kinds of statements whose text does not show their effects."""


def locks_of(kind: str, node: Node, server_version: int = _NEWEST) -> tuple[StatementLock, ...]:
    """The locks of a statement, one per relation, the strongest.

    ``kind`` is the name of the statement's node, ``node`` the node itself; ``server_version`` is the major version.
    """
    if kind == "grant_stmt":
        return strongest(_grant(node, server_version))
    find = _FINDERS.get(kind)
    return strongest(find(node)) if find is not None else ()


def blocks_of(kind: str, locks: tuple[StatementLock, ...], invisible: frozenset[str] = frozenset()) -> Blocks:
    """What the statement blocks at worst; relations in ``invisible`` are not visible to other sessions yet."""
    felt = [lock.mode for lock in locks if lock.relation not in invisible]
    if felt:
        return max(felt).blocks
    return "unknown" if kind in OPAQUE else "nothing"


def _relations(relations: Iterable[Node], mode: LockMode) -> Iterator[StatementLock]:
    for item in relations:
        yield StatementLock(mode, relation_name(item.range_var))


def _query(node: Node) -> Iterator[StatementLock]:
    for reference in references(node):
        if not reference.created:
            yield StatementLock(reference.mode, reference.relation)


def _create_table(node: Node) -> Iterator[StatementLock]:
    # The parent is locked as well: its partition constraint, and that of the default partition, change.
    is_partition = node.HasField("partbound")
    yield from _relations(node.inh_relations, _FULL if is_partition else _MAINTENANCE)
    if is_partition:
        yield StatementLock(_FULL, None)
    for element in node.table_elts:
        chosen = element.WhichOneof("node")
        if chosen == "table_like_clause":
            yield StatementLock(LockMode.ACCESS_SHARE, relation_name(element.table_like_clause.relation))
        elif chosen == "constraint" and enum_name(element.constraint, "contype") == "CONSTR_FOREIGN":
            yield from _beyond(node, element.constraint)
        elif chosen == "column_def":
            for kind, constraint in column_constraints(element.column_def):
                if kind == "CONSTR_FOREIGN":
                    yield from _beyond(node, constraint)


def _beyond(node: Node, constraint: Node) -> Iterator[StatementLock]:
    """The lock on the referenced table of a foreign key, unless it is the table that is being created."""
    for lock in _referenced_table(constraint):
        if lock.relation != relation_name(node.relation):
            yield lock


def _create_schema(node: Node) -> Iterator[StatementLock]:
    for element in node.schema_elts:
        kind = element.WhichOneof("node")
        yield from locks_of(kind, getattr(element, kind))


def _create_index(node: Node) -> Iterator[StatementLock]:
    yield StatementLock(_MAINTENANCE if node.concurrent else LockMode.SHARE, relation_name(node.relation))


def _create_view(node: Node) -> Iterator[StatementLock]:
    if node.replace:
        yield StatementLock(_FULL, relation_name(node.view))
    yield from _query(node.query)


def _create_trigger(node: Node) -> Iterator[StatementLock]:
    yield StatementLock(LockMode.SHARE_ROW_EXCLUSIVE, relation_name(node.relation))
    if node.HasField("constrrel"):
        yield StatementLock(LockMode.ACCESS_SHARE, relation_name(node.constrrel))


def _create_rule(node: Node) -> Iterator[StatementLock]:
    yield StatementLock(_FULL, relation_name(node.relation))
    for action in node.actions:
        yield from _query(action)


def _policy(node: Node) -> Iterator[StatementLock]:
    yield StatementLock(_FULL, relation_name(node.table))
    yield from _query(node.qual)
    yield from _query(node.with_check)


def _create_statistics(node: Node) -> Iterator[StatementLock]:
    yield from _relations(node.relations, _MAINTENANCE)


def _sequence(node: Node) -> Iterator[StatementLock]:
    if node.DESCRIPTOR.name == "AlterSeqStmt":
        yield StatementLock(LockMode.SHARE_ROW_EXCLUSIVE, relation_name(node.sequence))
    for option in node.options:
        if option.def_elem.defname == "owned_by":
            *table, _column = strings(option.def_elem.arg.list.items)
            if table:
                yield StatementLock(LockMode.ACCESS_SHARE, ".".join(table))


def _publication(node: Node) -> Iterator[StatementLock]:
    for item in node.pubobjects:
        if item.publication_obj_spec.HasField("pubtable"):
            yield StatementLock(_MAINTENANCE, relation_name(item.publication_obj_spec.pubtable.relation))
    if node.DESCRIPTOR.name == "AlterPublicationStmt" and enum_name(node, "action") == "AP_SetObjects":
        yield StatementLock(_MAINTENANCE, None)


_RELATIONS = frozenset({"FOREIGN TABLE", "INDEX", "MATERIALIZED VIEW", "SEQUENCE", "TABLE", "VIEW"})
_PARTS_OF_RELATIONS = frozenset({"POLICY", "RULE", "TRIGGER"})


def _drop(node: Node) -> Iterator[StatementLock]:
    dropped = object_type(node, "remove_type")
    mode = _MAINTENANCE if node.concurrent else _FULL
    if dropped in _RELATIONS:
        for name in object_names(node):
            yield StatementLock(mode, ".".join(name))
    elif dropped in _PARTS_OF_RELATIONS:
        for name in object_names(node):
            yield StatementLock(_FULL, ".".join(name[:-1]))
    if dropped == "STATISTICS":
        yield StatementLock(_MAINTENANCE, None)
    # The table of an index; the other table of a foreign key, or the parent of a partition; what CASCADE reaches.
    elif dropped in ("INDEX", "TABLE") or enum_name(node, "behavior") == "DROP_CASCADE":
        yield StatementLock(mode, None)


def _rename(node: Node) -> Iterator[StatementLock]:
    if node.HasField("relation"):
        index = enum_name(node, "rename_type") == "OBJECT_INDEX"
        yield StatementLock(_MAINTENANCE if index else _FULL, relation_name(node.relation))


def _set_schema(node: Node) -> Iterator[StatementLock]:
    if node.HasField("relation"):
        yield StatementLock(_FULL, relation_name(node.relation))


def _comment(node: Node) -> Iterator[StatementLock]:
    about = object_type(node, "objtype")
    name = name_parts(node.object)
    if about in _RELATIONS:
        yield StatementLock(_MAINTENANCE, ".".join(name))
    elif about == "COLUMN":
        yield StatementLock(_MAINTENANCE, ".".join(name[:-1]))
    elif about in _PARTS_OF_RELATIONS or enum_name(node, "objtype") == "OBJECT_TABCONSTRAINT":
        yield StatementLock(LockMode.ACCESS_SHARE, ".".join(name[:-1]))


def _grant(node: Node, server_version: int) -> Iterator[StatementLock]:
    # Before 18, a table could be dropped during a GRANT.
    named = enum_name(node, "targtype") == "ACL_TARGET_OBJECT"
    if server_version >= 18 and named and object_type(node, "objtype") in ("TABLE", "SEQUENCE"):
        yield from _relations(node.objects, LockMode.ACCESS_SHARE)


def _truncate(node: Node) -> Iterator[StatementLock]:
    yield from _relations(node.relations, _FULL)
    if enum_name(node, "behavior") == "DROP_CASCADE":
        yield StatementLock(_FULL, None)


def _copy(node: Node) -> Iterator[StatementLock]:
    if node.HasField("relation"):
        mode = LockMode.ROW_EXCLUSIVE if node.is_from else LockMode.ACCESS_SHARE
        yield StatementLock(mode, relation_name(node.relation))
    yield from _query(node.query)


def _lock(node: Node) -> Iterator[StatementLock]:
    yield from _relations(node.relations, LockMode(node.mode))


def _refresh(node: Node) -> Iterator[StatementLock]:
    yield StatementLock(LockMode.EXCLUSIVE if node.concurrent else _FULL, relation_name(node.relation))


def _cluster(node: Node) -> Iterator[StatementLock]:
    yield StatementLock(_FULL, relation_name(node.relation) if node.HasField("relation") else None)


def _reindex(node: Node) -> Iterator[StatementLock]:
    concurrent = option_is_on(node.params, "concurrently")
    on_table, on_index = (_MAINTENANCE, _MAINTENANCE) if concurrent else (LockMode.SHARE, _FULL)
    if enum_name(node, "kind") == "REINDEX_OBJECT_INDEX":
        yield StatementLock(on_index, relation_name(node.relation))
        yield StatementLock(on_table, None)
        return
    if node.HasField("relation"):
        yield StatementLock(on_table, relation_name(node.relation))
    # The planner locks every index of a table for any query, so readers of the table wait as well.
    yield StatementLock(on_index, None)


def _vacuum(node: Node) -> Iterator[StatementLock]:
    mode = _FULL if option_is_on(node.options, "full") else _MAINTENANCE
    for item in node.rels:
        yield StatementLock(mode, relation_name(item.vacuum_relation.relation))
    if not node.rels:
        yield StatementLock(mode, None)


def _everything(_node: Node) -> Iterator[StatementLock]:
    yield StatementLock(_FULL, None)


_FINDERS: dict[str, Callable[[Node], Iterator[StatementLock]]] = {
    "alter_object_schema_stmt": _set_schema,
    "alter_policy_stmt": _policy,
    "alter_publication_stmt": _publication,
    "alter_seq_stmt": _sequence,
    "alter_table_move_all_stmt": _everything,
    "alter_table_stmt": _alter_table,
    "cluster_stmt": _cluster,
    "comment_stmt": _comment,
    "copy_stmt": _copy,
    "create_function_stmt": _query,
    "create_policy_stmt": _policy,
    "create_publication_stmt": _publication,
    "create_schema_stmt": _create_schema,
    "create_seq_stmt": _sequence,
    "create_stats_stmt": _create_statistics,
    "create_stmt": _create_table,
    "create_table_as_stmt": _query,
    "create_trig_stmt": _create_trigger,
    "declare_cursor_stmt": _query,
    "delete_stmt": _query,
    "drop_owned_stmt": _everything,
    "drop_stmt": _drop,
    "explain_stmt": _query,
    "index_stmt": _create_index,
    "insert_stmt": _query,
    "lock_stmt": _lock,
    "merge_stmt": _query,
    "prepare_stmt": _query,
    "refresh_mat_view_stmt": _refresh,
    "reindex_stmt": _reindex,
    "rename_stmt": _rename,
    "rule_stmt": _create_rule,
    "sec_label_stmt": _comment,
    "select_stmt": _query,
    "truncate_stmt": _truncate,
    "update_stmt": _query,
    "vacuum_stmt": _vacuum,
    "view_stmt": _create_view,
}
