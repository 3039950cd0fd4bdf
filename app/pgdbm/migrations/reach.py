"""How far a statement reaches: only into a given schema, or beyond it. Pure.

What a rehearsal may commit in a schema of its own depends on it, so that in doubt the answer is "beyond".
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

from ..core.grammar import TreeTooDeepError, parse_tree
from .inspection.parsetree import enum_name, name_parts, object_names, strings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Reach(IntEnum):
    """How far a statement goes. The highest of several counts."""

    INSIDE = 0
    """It defines things in the schema. Foreign keys and views may refer to other schemas."""
    OPEN = 1
    """It runs what it does not show, or data: what it did has to be looked at before it is kept."""
    BEYOND = 2
    """It changes something elsewhere, or nobody knows."""


def reach_of(sql: str, schema: str) -> Reach:
    """The reach of the statements in ``sql``; without any, INSIDE."""
    import postgast  # here, since it takes a quarter of a second and few programs rehearse

    try:
        statements = parse_tree(sql)
    except (postgast.PgQueryError, TreeTooDeepError):
        return Reach.BEYOND
    return max((_reach(raw.stmt, schema) for raw in statements), default=Reach.INSIDE)


def _reach(statement: Any, schema: str) -> Reach:
    kind = statement.WhichOneof("node")
    node = getattr(statement, kind)
    if kind in _OPEN:
        return Reach.OPEN
    find = _TARGETS.get(kind)
    schemas = find(node) if find is not None else None
    if schemas is None:
        return Reach.BEYOND
    # A bare name is looked up in the search_path: where it led to shows in the locks.
    return Reach.INSIDE if all(name == schema for name in schemas) else _elsewhere(kind, schemas, schema)


def _elsewhere(kind: str, schemas: Iterable[str], schema: str) -> Reach:
    return Reach.OPEN if kind in _OF_RELATIONS and all(name in ("", schema) for name in schemas) else Reach.BEYOND


_OPEN = frozenset(
    {
        "call_stmt",
        "create_extension_stmt",
        "create_role_stmt",
        "create_schema_stmt",
        "create_table_as_stmt",
        "delete_stmt",
        "do_stmt",
        "insert_stmt",
        "merge_stmt",
        "refresh_mat_view_stmt",
        "select_stmt",
        "update_stmt",
        "variable_set_stmt",
    }
)


def _relation(field: str) -> Callable[[Any], list[str] | None]:
    return lambda node: [getattr(node, field).schemaname]


def _name(field: str) -> Callable[[Any], list[str] | None]:
    return lambda node: [_schema_in(strings(getattr(node, field)))]


def _schema_in(parts: list[str]) -> str:
    return parts[-2] if len(parts) > 1 else ""


_IN_SCHEMAS = frozenset(
    f"OBJECT_{name}"
    for name in [
        "AGGREGATE",
        "COLLATION",
        "DOMAIN",
        "FUNCTION",
        "INDEX",
        "MATVIEW",
        "OPERATOR",
        "PROCEDURE",
        "ROUTINE",
        "SEQUENCE",
        "STATISTIC_EXT",
        "TABLE",
        "TYPE",
        "VIEW",
    ]
)
_OF_TABLES = frozenset({"OBJECT_COLUMN", "OBJECT_POLICY", "OBJECT_RULE", "OBJECT_TABCONSTRAINT", "OBJECT_TRIGGER"})


def _drop(node: Any) -> list[str] | None:
    kind = enum_name(node, "remove_type")
    if kind in _IN_SCHEMAS:
        return [_schema_in(parts) for parts in object_names(node)]
    if kind in _OF_TABLES:
        return [_schema_in(parts[:-1]) for parts in object_names(node)]
    return None


def _object(node: Any, kind: str, item: Any) -> list[str] | None:
    parts = name_parts(item)
    if kind in _IN_SCHEMAS:
        return [_schema_in(parts)]
    if kind in _OF_TABLES:
        return [_schema_in(parts[:-1])]
    return list(parts) if kind == "OBJECT_SCHEMA" else None


def _comment(node: Any) -> list[str] | None:
    return _object(node, enum_name(node, "objtype"), node.object)


def _rename(node: Any) -> list[str] | None:
    if node.HasField("relation"):
        return [node.relation.schemaname]
    kind = enum_name(node, "rename_type")
    return _object(node, kind, node.object) if kind in _IN_SCHEMAS else None


def _grant(node: Any) -> list[str] | None:
    if enum_name(node, "targtype") != "ACL_TARGET_OBJECT":
        # ALL TABLES IN SCHEMA names schemas.
        return [name for item in node.objects for name in name_parts(item)]
    schemas: list[str] = []
    for item in node.objects:
        if item.WhichOneof("node") == "range_var":
            schemas.append(item.range_var.schemaname)
            continue
        found = _object(node, enum_name(node, "objtype"), item)
        if found is None:
            return None
        schemas += found
    return schemas


def _vacuum(node: Any) -> list[str] | None:
    return [item.vacuum_relation.relation.schemaname for item in node.rels] or None


def _alter_function(node: Any) -> list[str] | None:
    return [_schema_in(strings(node.func.objname))]


def _truncate(node: Any) -> list[str] | None:
    return [item.range_var.schemaname for item in node.relations]


def _statistics(node: Any) -> list[str] | None:
    return [_schema_in(strings(node.defnames))]


_TARGETS: dict[str, Callable[[Any], list[str] | None]] = {
    "alter_domain_stmt": _name("type_name"),
    "alter_enum_stmt": _name("type_name"),
    "alter_function_stmt": _alter_function,
    "alter_policy_stmt": _relation("table"),
    "alter_seq_stmt": _relation("sequence"),
    "alter_table_stmt": _relation("relation"),
    "cluster_stmt": _relation("relation"),
    "comment_stmt": _comment,
    "composite_type_stmt": _relation("typevar"),
    "create_domain_stmt": _name("domainname"),
    "create_enum_stmt": _name("type_name"),
    "create_function_stmt": _name("funcname"),
    "create_policy_stmt": _relation("table"),
    "create_range_stmt": _name("type_name"),
    "create_seq_stmt": _relation("sequence"),
    "create_stats_stmt": _statistics,
    "create_stmt": _relation("relation"),
    "create_trig_stmt": _relation("relation"),
    "define_stmt": _statistics,
    "drop_stmt": _drop,
    "grant_stmt": _grant,
    "index_stmt": _relation("relation"),
    "reindex_stmt": _relation("relation"),
    "rename_stmt": _rename,
    "rule_stmt": _relation("relation"),
    "truncate_stmt": _truncate,
    "vacuum_stmt": _vacuum,
    "view_stmt": _relation("view"),
}
_OF_RELATIONS = frozenset(
    {
        "alter_policy_stmt",
        "alter_seq_stmt",
        "alter_table_stmt",
        "create_policy_stmt",
        "create_seq_stmt",
        "create_stmt",
        "create_trig_stmt",
        "index_stmt",
        "rule_stmt",
        "truncate_stmt",
        "view_stmt",
    }
)
"""What leaves a lock on the relation that it is about, so that a bare name may be looked up afterwards."""
