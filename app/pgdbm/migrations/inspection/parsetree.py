"""Reading the nodes of the PostgreSQL parse tree. Pure; nodes are libpg_query's protobuf messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def enum_name(node: Any, field: str) -> str:
    """The name of the value that ``field`` of ``node`` has, such as ``AT_AddColumn``."""
    return str(type(node).DESCRIPTOR.fields_by_name[field].enum_type.values_by_number[getattr(node, field)].name)


def object_type(node: Any, field: str) -> str:
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


def relation_name(relation: Any) -> str:
    """ "schema.table", or what there is of it, of a RangeVar."""
    return f"{relation.schemaname}.{relation.relname}" if relation.schemaname else str(relation.relname)


def strings(nodes: Iterable[Any]) -> list[str]:
    """The words of a list of String nodes."""
    return [node.string.sval for node in nodes]


def object_names(node: Any) -> list[list[str]]:
    """The parts of each name in a DROP statement; what has no plain name (an operator, a cast) is left out."""
    return [name for name in (name_parts(item) for item in node.objects) if name]


def name_parts(item: Any) -> list[str]:
    """The parts of the name that ``item`` holds in whatever node names are held in."""
    chosen = item.WhichOneof("node")
    if chosen == "list":
        return strings(item.list.items)
    if chosen == "type_name":
        return strings(item.type_name.names)
    if chosen == "object_with_args":
        return strings(item.object_with_args.objname)
    return [item.string.sval] if chosen == "string" else []


def definition(command: Any) -> Any:
    """The node that an ALTER TABLE subcommand is about; its field is called ``def``."""
    return getattr(command, "def")


def alter_commands(node: Any) -> Iterator[tuple[str, Any]]:
    """(kind such as ``AT_AddColumn``, subcommand) of each subcommand of an ALTER TABLE."""
    for wrapped in node.cmds:
        command = wrapped.alter_table_cmd
        yield enum_name(command, "subtype"), command


def column_constraints(column: Any) -> Iterator[tuple[str, Any]]:
    """(kind such as ``CONSTR_FOREIGN``, constraint) of each constraint in the definition of a column."""
    for wrapped in column.constraints:
        yield enum_name(wrapped.constraint, "contype"), wrapped.constraint


def nested(message: Any) -> Iterator[Any]:
    """``message`` and every message in it, whatever its type."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for part in value if is_repeated(value) else (value,):
            yield from nested(part)


def is_repeated(value: Any) -> bool:
    """Whether the value of a protobuf field is a list of messages and not one."""
    return not hasattr(value, "ListFields")
