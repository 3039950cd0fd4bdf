"""Reads the nodes of the PostgreSQL parse tree. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Node(Protocol):
    """A message of libpg_query's parse tree. Its fields have the names of its protobuf definition, in snake case."""

    def __getattr__(self, name: str) -> Any: ...


def statement_node(tree: Node) -> tuple[str, Node]:
    """(kind such as ``create_stmt``, node) of the statement in ``tree``."""
    kind: str = tree.WhichOneof("node")
    return kind, getattr(tree, kind)


def children(node: Node) -> Iterator[tuple[str, Node]]:
    """(field, node) of each node directly below ``node``. A constant has none; its value is in the node itself."""
    if node.DESCRIPTOR.name == "A_Const":
        # A data file consists mostly of constants.
        return
    for field, value in node.ListFields():
        if field.message_type is None:
            continue
        # A repeated field has no fields of its own.
        for part in (value,) if hasattr(value, "ListFields") else value:
            yield field.name, part


def nested(node: Node) -> Iterator[Node]:
    """``node`` and every node below it, each before those below it."""
    waiting = [node]
    while waiting:
        current = waiting.pop()
        yield current
        waiting += reversed([part for _, part in children(current)])


def enum_name(node: Node, field: str) -> str:
    """The name of the value in ``field`` of ``node``, such as ``AT_AddColumn``."""
    return str(node.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number[getattr(node, field)].name)


def object_type(node: Node, field: str) -> str:
    """The kind of object in ``field`` in SQL words, such as ``MATERIALIZED VIEW``."""
    return _OBJECTS.get(enum_name(node, field), enum_name(node, field).removeprefix("OBJECT_").replace("_", " "))


_OBJECTS = {
    "OBJECT_ATTRIBUTE": "ATTRIBUTE",
    "OBJECT_DOMCONSTRAINT": "CONSTRAINT",
    "OBJECT_FDW": "FOREIGN DATA WRAPPER",
    "OBJECT_FOREIGN_SERVER": "SERVER",
    "OBJECT_LARGEOBJECT": "LARGE OBJECT",
    "OBJECT_MATVIEW": "MATERIALIZED VIEW",
    "OBJECT_OPCLASS": "OPERATOR CLASS",
    "OBJECT_OPFAMILY": "OPERATOR FAMILY",
    "OBJECT_STATISTIC_EXT": "STATISTICS",
    "OBJECT_TABCONSTRAINT": "CONSTRAINT",
    "OBJECT_TSCONFIGURATION": "TEXT SEARCH CONFIGURATION",
    "OBJECT_TSDICTIONARY": "TEXT SEARCH DICTIONARY",
    "OBJECT_TSPARSER": "TEXT SEARCH PARSER",
    "OBJECT_TSTEMPLATE": "TEXT SEARCH TEMPLATE",
}
_IN_SCHEMAS = frozenset(
    {
        "OBJECT_AGGREGATE",
        "OBJECT_COLLATION",
        "OBJECT_DOMAIN",
        "OBJECT_FOREIGN_TABLE",
        "OBJECT_FUNCTION",
        "OBJECT_INDEX",
        "OBJECT_MATVIEW",
        "OBJECT_OPERATOR",
        "OBJECT_PROCEDURE",
        "OBJECT_ROUTINE",
        "OBJECT_SEQUENCE",
        "OBJECT_STATISTIC_EXT",
        "OBJECT_TABLE",
        "OBJECT_TYPE",
        "OBJECT_VIEW",
    }
)
_OF_RELATIONS = frozenset({"OBJECT_COLUMN", "OBJECT_POLICY", "OBJECT_RULE", "OBJECT_TABCONSTRAINT", "OBJECT_TRIGGER"})


def owner_name(kind: str, name: list[str]) -> list[str] | None:
    """The parts of the name of the schema's object: ``name`` itself, or the relation that it belongs to.

    ``kind`` is the object's, such as ``OBJECT_TRIGGER``. None for objects that are not in schemas.
    """
    if kind in _IN_SCHEMAS:
        return name
    return name[:-1] if kind in _OF_RELATIONS else None


def relation_name(relation: Node) -> str:
    """The name in a RangeVar, with its schema if it has one: ``schema.table``."""
    return f"{relation.schemaname}.{relation.relname}" if relation.schemaname else str(relation.relname)


def strings(nodes: Iterable[Node]) -> list[str]:
    """The values of a list of String nodes."""
    return [node.string.sval for node in nodes]


def object_names(node: Node) -> list[list[str]]:
    """The parts of each name in a DROP statement; an object without a plain name, such as a cast, is omitted."""
    return [name for name in (name_parts(item) for item in node.objects) if name and all(name)]


def name_parts(item: Node) -> list[str]:
    """The parts of the name in ``item``, whatever kind of node it is."""
    chosen = item.WhichOneof("node")
    if chosen == "list":
        return strings(item.list.items)
    if chosen == "type_name":
        return strings(item.type_name.names)
    if chosen == "object_with_args":
        return strings(item.object_with_args.objname)
    return [item.string.sval] if chosen == "string" else []


def definition(command: Node) -> Node:
    """The node in the field ``def`` of an ALTER TABLE subcommand."""
    found: Node = getattr(command, "def")
    return found


def alter_commands(node: Node) -> Iterator[tuple[str, Node]]:
    """(kind such as ``AT_AddColumn``, subcommand) of each subcommand of an ALTER TABLE."""
    for wrapped in node.cmds:
        command = wrapped.alter_table_cmd
        yield enum_name(command, "subtype"), command


def column_constraints(column: Node) -> Iterator[tuple[str, Node]]:
    """(kind such as ``CONSTR_FOREIGN``, constraint) of each constraint in the definition of a column."""
    for wrapped in column.constraints:
        yield enum_name(wrapped.constraint, "contype"), wrapped.constraint


def option_is_on(options: Iterable[Node], name: str, *, default: bool = False) -> bool:
    """Whether the Boolean option ``name`` of a list of DefElem nodes is on; ``default`` where it is not given."""
    for option in options:
        if option.def_elem.defname == name:
            argument = option.def_elem.arg
            chosen = argument.WhichOneof("node")
            if chosen is None:
                return True
            if chosen == "boolean":
                return bool(argument.boolean.boolval)
            if chosen == "integer":
                return bool(argument.integer.ival)
            if chosen == "string":
                return _is_on(argument.string.sval)
            # Words that are not reserved, such as off, are parsed as the name of a type. The server rejects the rest.
            return chosen != "type_name" or _is_on(argument.type_name.names[-1].string.sval)
    return default


def _is_on(word: str) -> bool:
    return word.lower() not in ("false", "off", "0")
