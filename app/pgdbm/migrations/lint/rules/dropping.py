"""Rules about objects that running programs still use, and about data that is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ....pgparse.tree import enum_name, object_type, relation_name
from .rule import Hit, dropped, rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .rule import SeenFile, SeenStatement

_TABLES = frozenset({"FOREIGN TABLE", "TABLE"})
_READ_BY_PROGRAMS = frozenset({"COLUMN", "FOREIGN TABLE", "MATERIALIZED VIEW", "TABLE", "VIEW"})


@rule(
    "PGDBM012",
    "drop-table",
    "warning",
    "drop_stmt",
    advice="First release programs that do not use it; keep a backup of what it holds.",
    squawk=("ban-drop-table",),
)
def drop_table(statement: SeenStatement, file: SeenFile) -> Iterator[Hit]:
    about, names = dropped(statement)
    lost = [name for name in names if not file.is_new(name)]
    if about in _TABLES and lost:
        yield Hit(f"The rows of {', '.join(lost)} are lost, and programs that use it fail.")


@rule(
    "PGDBM013",
    "drop-column",
    "warning",
    "alter_table_stmt",
    advice="First release programs that do not use it, by name or with SELECT *.",
    squawk=("ban-drop-column",),
)
def drop_column(statement: SeenStatement, file: SeenFile) -> Iterator[Hit]:
    if file.is_new(statement.table) or enum_name(statement.node, "objtype") == "OBJECT_TYPE":
        return
    for kind, command, _ in statement.commands:
        if kind == "AT_DropColumn":
            yield Hit(f"{command.name} of {statement.table} is lost, and programs that use it fail.")


@rule(
    "PGDBM014",
    "rename",
    "warning",
    "rename_stmt",
    "alter_object_schema_stmt",
    advice=(
        "Add the new name beside the old one (a column that a trigger fills, or a view), switch the programs over, "
        "and drop the old one last."
    ),
    squawk=("renaming-column", "renaming-table", "renaming-object", "ban-set-schema"),
)
def rename(statement: SeenStatement, file: SeenFile) -> Iterator[Hit]:
    field = "rename_type" if statement.kind == "rename_stmt" else "object_type"
    about = object_type(statement.node, field)
    if about not in _READ_BY_PROGRAMS or file.is_new(statement.table):
        return
    old = f"{statement.table}.{statement.node.subname}" if about == "COLUMN" else statement.table
    yield Hit(f"Running programs that use the old name {old} fail from the commit on.")


@rule(
    "PGDBM019",
    "cascade",
    "warning",
    "drop_stmt",
    "alter_table_stmt",
    "truncate_stmt",
    "drop_owned_stmt",
    advice="Name the objects, without CASCADE: then an unexpected dependency stops the migration.",
    squawk=("ban-truncate-cascade",),
)
def cascade(statement: SeenStatement, file: SeenFile) -> Iterator[Hit]:
    node = statement.node
    if statement.kind == "alter_table_stmt":
        reaches = any(enum_name(command, "behavior") == "DROP_CASCADE" for _, command, _ in statement.commands)
        names = [statement.table]
    elif statement.kind == "truncate_stmt":
        reaches = enum_name(node, "behavior") == "DROP_CASCADE"
        names = [relation_name(item.range_var) for item in node.relations]
    else:
        reaches = enum_name(node, "behavior") == "DROP_CASCADE"
        names = dropped(statement)[1] if statement.kind == "drop_stmt" else ["what a role owns"]
    if reaches and not all(file.is_new(name) for name in names):
        yield Hit(f"CASCADE also drops everything that depends on {', '.join(names)}, in every schema.")


@rule(
    "PGDBM025",
    "truncate",
    "warning",
    "truncate_stmt",
    advice="DELETE in batches, which blocks less; if the rows have to go in one step, ignore this finding.",
)
def truncate(statement: SeenStatement, file: SeenFile) -> Iterator[Hit]:
    names = [relation_name(item.range_var) for item in statement.node.relations]
    lost = [name for name in names if not file.is_new(name)]
    if lost:
        yield Hit(f"Every row of {', '.join(lost)} is lost, and reads and writes are blocked until the commit.")


RULES = (drop_table, drop_column, rename, cascade, truncate)
