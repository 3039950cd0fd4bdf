"""Rules about names that should be placeholders."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ....pgparse.tree import enum_name, name_parts, object_names, owner_name, strings
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
_SYSTEM = ("pg_catalog", "information_schema", "pg_temp")


def _names(statement: SeenStatement, file: SeenFile) -> Iterator[tuple[list[str], int | None]]:
    """(parts of the name, its position or None) of every name that does not come from a placeholder."""
    node = statement.node
    if statement.kind == "create_schema_stmt":
        return  # objects in it need no schema
    for reference in statement.references:
        if not reference.temporary and not file.is_placeholder(reference.location):
            parts = [reference.schema, reference.name] if reference.schema else [reference.name]
            yield parts, reference.location
    unplaced: list[list[str]] = []
    if statement.kind in _OWN_NAMES:
        unplaced.append(strings(getattr(node, _OWN_NAMES[statement.kind])))
    elif statement.kind == "drop_stmt":
        kind = enum_name(node, "remove_type")
        unplaced += [owner_name(kind, name) or [] for name in object_names(node)]
    elif statement.kind == "comment_stmt":
        unplaced.append(owner_name(enum_name(node, "objtype"), name_parts(node.object)) or [])
    for name in unplaced:
        if name and not file.has_placeholder_for(statement, name):
            yield name, None


@rule(
    "PGDBM001",
    "unqualified-name",
    "warning",
    advice="Write {{tables.name}}, or {{schema}}.name for anything that is not a table.",
    squawk=("require-table-schema",),
)
def unqualified_name(statement: SeenStatement, file: SeenFile) -> Iterator[Hit]:
    if file.schema is None and not file.parsed.rendered.edits:
        return
    seen = set()
    for parts, location in _names(statement, file):
        (name, *more) = parts
        if more or name in file.temporary or name in seen or name.startswith("pg_"):
            continue
        seen.add(name)
        yield Hit(f"{name} has no schema: which one is meant depends on the search_path of the connection.", location)


@rule(
    "PGDBM002",
    "hard-coded-schema",
    "warning",
    advice="Write {{tables.name}} for the module's own schema, or {{tables.other.name}} for another one.",
)
def hard_coded_schema(statement: SeenStatement, file: SeenFile) -> Iterator[Hit]:
    seen = set()
    for parts, location in _names(statement, file):
        schema = parts[0]
        if len(parts) < 2 or schema in seen or schema.startswith(_SYSTEM):
            continue
        seen.add(schema)
        yield Hit(f"{'.'.join(parts)} is in schema {schema} wherever the file is applied.", location)


@rule(
    "PGDBM031",
    "placeholder-in-text",
    "info",
    advice="If the text is data, write \\{{...}}: the backslash is removed and the braces stay.",
)
def placeholder_in_text(statement: SeenStatement, file: SeenFile) -> Iterator[Hit]:
    rendered = file.parsed.rendered
    hits = set()
    for start, _, source_start, source_length in file.placeholders_in(statement):
        span = file.quoted.span_at(source_start)
        if span is None or span in hits or rendered.source[span[0]] != "'":
            continue
        # The dot is omitted if there is no schema.
        placeholder = rendered.source[source_start : source_start + source_length].removesuffix(".")
        if placeholder.startswith("\\"):
            text = f"The backslash of {placeholder} is removed: the text contains the braces alone."
        elif re.search(r"\s", rendered.source[slice(*span)].replace(placeholder, "")):
            text = f"{placeholder} in this text is replaced, as everywhere else."
        else:
            # A name, such as '{{tables.orders}}'::regclass.
            continue
        hits.add(span)
        yield Hit(text, file.location(start))


RULES = (unqualified_name, hard_coded_schema, placeholder_in_text)
