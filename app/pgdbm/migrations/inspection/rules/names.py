"""Rules about names: what a placeholder should have said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..parsetree import name_parts, object_names, object_type, strings
from .rule import Hit, rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .rule import SeenFile, SeenStatement

_OWN_NAMES = {
    "create_domain_stmt": "domainname",
    "create_enum_stmt": "type_name",
    "create_function_stmt": "funcname",
    "create_range_stmt": "type_name",
    "create_stats_stmt": "defnames",
}
_IN_SCHEMAS = frozenset(
    {
        "AGGREGATE",
        "DOMAIN",
        "FOREIGN TABLE",
        "FUNCTION",
        "INDEX",
        "MATERIALIZED VIEW",
        "PROCEDURE",
        "ROUTINE",
        "SEQUENCE",
        "STATISTICS",
        "TABLE",
        "TYPE",
        "VIEW",
    }
)
_ON_TABLES = frozenset({"COLUMN", "CONSTRAINT", "POLICY", "RULE", "TRIGGER"})
_SYSTEM = ("pg_catalog", "information_schema", "pg_temp")


def _names(statement: SeenStatement, file: SeenFile) -> Iterator[tuple[list[str], int | None]]:
    """(parts of the name, where it stands or None) of everything that is named and is not out of a placeholder."""
    node = statement.node
    if statement.kind == "create_schema_stmt":
        return  # what is made in it needs no schema
    for reference in statement.references:
        if not reference.temporary and not file.is_placeholder(reference.location):
            parts = [reference.schema, reference.name] if reference.schema else [reference.name]
            yield parts, reference.location
    unplaced: list[list[str]] = []
    if statement.kind in _OWN_NAMES:
        unplaced.append(strings(getattr(node, _OWN_NAMES[statement.kind])))
    elif statement.kind == "drop_stmt":
        about = object_type(node, "remove_type")
        if about in _IN_SCHEMAS:
            unplaced += object_names(node)
        elif about in _ON_TABLES:
            unplaced += [name[:-1] for name in object_names(node)]
    elif statement.kind == "comment_stmt":
        about = object_type(node, "objtype")
        name = name_parts(node.object)
        if about in _IN_SCHEMAS:
            unplaced.append(name)
        elif about in _ON_TABLES and len(name) > 1:
            unplaced.append(name[:-1])
    for name in unplaced:
        if name and not file.has_placeholder_for(statement, name):
            yield name, None


@rule(
    "PGDBM001",
    "unqualified-name",
    "warning",
    advice="Write {{tables.name}}, or {{schema}}.name for what is not a table.",
    squawk=("require-table-schema",),
)
def unqualified_name(statement: SeenStatement, file: SeenFile) -> Iterator[Hit]:
    if file.schema is None and not file.parsed.rendered.edits:
        return
    said = set()
    for parts, location in _names(statement, file):
        (name, *more) = parts
        if more or name in file.temporary or name in said or name.startswith("pg_"):
            continue
        said.add(name)
        yield Hit(f"{name} has no schema: which one is meant depends on the search_path of the connection.", location)


@rule(
    "PGDBM002",
    "hard-coded-schema",
    "warning",
    advice="Write {{tables.name}} for the module's own schema, {{tables.other.name}} where another one is meant.",
)
def hard_coded_schema(statement: SeenStatement, file: SeenFile) -> Iterator[Hit]:
    said = set()
    for parts, location in _names(statement, file):
        schema = parts[0]
        if len(parts) < 2 or schema in said or schema.startswith(_SYSTEM):
            continue
        said.add(schema)
        yield Hit(f"{'.'.join(parts)} is in schema {schema} wherever the file is applied.", location)


RULES = (unqualified_name, hard_coded_schema)
