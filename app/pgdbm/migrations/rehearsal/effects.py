"""Whether the effects of a statement are limited to a schema. Pure.

A rehearsal commits only statements whose effects are known to be inside its scratch schema. In case of doubt the result
is OUTSIDE.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from ...pgparse.tree import enum_name, name_parts, object_names, owner_name, statement_node, strings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ...pgparse.tree import Node


class Effects(IntEnum):
    """The effects of a statement. Of several statements, the one with the greatest effect counts."""

    INSIDE = 0
    """It defines objects in the schema. Foreign keys and views may refer to other schemas."""
    UNCERTAIN = 1
    """It changes data, or runs code that its text does not show: its effects must be checked before it is kept."""
    OUTSIDE = 2
    """It changes something elsewhere, or its effects are unknown."""


def effects_of(tree: Node | None, schema: str) -> Effects:
    """The effects of a statement; ``tree`` is None if it could not be parsed."""
    if tree is None:
        return Effects.OUTSIDE
    kind, node = statement_node(tree)
    if kind in _UNCERTAIN:
        return Effects.UNCERTAIN
    find = _TARGETS.get(kind)
    schemas = find(node) if find is not None else None
    if schemas is None:
        return Effects.OUTSIDE
    # An unqualified name is resolved through the search_path: the locks show to which relation.
    return Effects.INSIDE if all(name == schema for name in schemas) else _elsewhere(kind, schemas, schema)


def _elsewhere(kind: str, schemas: Iterable[str], schema: str) -> Effects:
    unqualified = kind in _OF_RELATIONS and all(name in ("", schema) for name in schemas)
    return Effects.UNCERTAIN if unqualified else Effects.OUTSIDE


_UNCERTAIN = frozenset(
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


def _relation(field: str) -> Callable[[Node], list[str] | None]:
    return lambda node: [getattr(node, field).schemaname]


def _name(field: str) -> Callable[[Node], list[str] | None]:
    return lambda node: [_schema_in(strings(getattr(node, field)))]


def _schema_in(parts: list[str]) -> str:
    return parts[-2] if len(parts) > 1 else ""


def _drop(node: Node) -> list[str] | None:
    kind = enum_name(node, "remove_type")
    owners = [owner_name(kind, name) for name in object_names(node)]
    schemas = [_schema_in(owner) for owner in owners if owner is not None]
    return schemas if len(schemas) == len(owners) and schemas else None


def _object(kind: str, item: Node) -> list[str] | None:
    parts = name_parts(item)
    owner = owner_name(kind, parts)
    if owner is not None:
        return [_schema_in(owner)]
    return parts if kind == "OBJECT_SCHEMA" else None


def _comment(node: Node) -> list[str] | None:
    return _object(enum_name(node, "objtype"), node.object)


def _rename(node: Node) -> list[str] | None:
    if node.HasField("relation"):
        return [node.relation.schemaname]
    name = owner_name(enum_name(node, "rename_type"), name_parts(node.object))
    return [_schema_in(name)] if name is not None else None


def _grant(node: Node) -> list[str] | None:
    if enum_name(node, "targtype") != "ACL_TARGET_OBJECT":
        # ALL TABLES IN SCHEMA names schemas.
        return [name for item in node.objects for name in name_parts(item)]
    schemas: list[str] = []
    for item in node.objects:
        if item.WhichOneof("node") == "range_var":
            schemas.append(item.range_var.schemaname)
            continue
        found = _object(enum_name(node, "objtype"), item)
        if found is None:
            return None
        schemas += found
    return schemas


def _vacuum(node: Node) -> list[str] | None:
    return [item.vacuum_relation.relation.schemaname for item in node.rels] or None


def _alter_function(node: Node) -> list[str] | None:
    return [_schema_in(strings(node.func.objname))]


def _truncate(node: Node) -> list[str] | None:
    return [item.range_var.schemaname for item in node.relations]


def _statistics(node: Node) -> list[str] | None:
    return [_schema_in(strings(node.defnames))]


_TARGETS: dict[str, Callable[[Node], list[str] | None]] = {
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
"""These leave a lock on the relation that they alter, which shows the schema of an unqualified name."""
