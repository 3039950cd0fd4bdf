"""The locks of ALTER TABLE: each subcommand has its level, and the strongest of them is taken. Pure.

Also of ALTER INDEX, SEQUENCE, VIEW, MATERIALIZED VIEW, FOREIGN TABLE and TYPE, which the parser gives as the same node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .lockmodes import LockMode, StatementLock
from .parsetree import alter_commands, column_constraints, definition, enum_name, relation_name

if TYPE_CHECKING:
    from collections.abc import Iterator

_FULL = LockMode.ACCESS_EXCLUSIVE
_TRIGGERS = LockMode.SHARE_ROW_EXCLUSIVE
_MAINTENANCE = LockMode.SHARE_UPDATE_EXCLUSIVE

# What is not here takes ACCESS EXCLUSIVE.
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
# Storage parameters that only maintenance and the planner look at; the others change what readers or writers do.
_LIGHT_PARAMETERS = frozenset({"deduplicate_items", "fillfactor", "parallel_workers", "toast_tuple_target"})
_LIGHT_PREFIXES = ("autovacuum_", "log_autovacuum_", "vacuum_")


def alter_table(node: Any) -> Iterator[StatementLock]:
    """The locks of an ALTER TABLE.

    The indexes, the sequences, the partitions and the children of the table are locked as well, and are not listed.
    """
    altered = relation_name(node.relation)
    commands = list(alter_commands(node))
    yield StatementLock(max(_level(kind, command) for kind, command in commands), altered)
    for kind, command in commands:
        yield from _others(kind, command, enum_name(node, "objtype"))


def referenced_tables(constraint: Any) -> Iterator[StatementLock]:
    """A foreign key puts triggers on the other table as well."""
    yield StatementLock(_TRIGGERS, relation_name(constraint.pktable))


def _level(kind: str, command: Any) -> LockMode:
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


def _others(kind: str, command: Any, object_kind: str) -> Iterator[StatementLock]:
    """What a subcommand locks beside the table that is altered."""
    about = definition(command)
    if kind == "AT_AddConstraint":
        if enum_name(about.constraint, "contype") == "CONSTR_FOREIGN":
            yield from referenced_tables(about.constraint)
    elif kind == "AT_AddColumn":
        for constraint_kind, constraint in column_constraints(about.column_def):
            if constraint_kind == "CONSTR_FOREIGN":
                yield from referenced_tables(constraint)
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
