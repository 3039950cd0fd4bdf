"""Rules about columns of tables that are in use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ....pgparse.tree import column_constraints, enum_name, nested, strings
from ..column_types import ColumnType, Retyped
from .rule import Hit, rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ....pgparse.tree import Node
    from .rule import SeenFile, SeenStatement

_SERIALS = frozenset({"bigserial", "serial", "serial2", "serial4", "serial8", "smallserial"})
# Functions whose result the server computes once for all rows. Any other function may be volatile, and then every row
# is rewritten with its own value.
_STEADY = frozenset(
    """
    abs array_fill ceil ceiling char_length coalesce concat current_database current_schema current_setting date_part
    date_trunc decode encode extract floor format greatest hashtext int4range int8range json_array json_build_array
    json_build_object json_object jsonb_build_array jsonb_build_object jsonb_object left length lower lpad make_date
    make_interval make_time make_timestamp make_timestamptz md5 now nullif num_nulls repeat replace right round rpad
    session_user sha256 split_part statement_timestamp string_to_array substr substring timezone to_char to_date
    to_json to_jsonb to_number to_timestamp to_tsvector transaction_timestamp trim trunc tsrange tstzrange upper
    """.split()  # noqa: SIM905 - words, not a column of sixty lines
)
_VOLATILE = frozenset({"clock_timestamp", "gen_random_uuid", "nextval", "random", "timeofday", "uuidv4", "uuidv7"})
# The server converts shorter forms of the same type into these without reading a row.
_WIDEST = frozenset({"text", "varchar", "numeric", "varbit"})


def _added_columns(statement: SeenStatement, file: SeenFile) -> Iterator[Node]:
    if not file.is_new(statement.table):
        yield from (about for kind, _, about in statement.commands if kind == "AT_AddColumn")


@rule(
    "PGDBM003",
    "rewriting-default",
    "warning",
    "alter_table_stmt",
    advice="Add the column without it, set the default in a second step, and fill old rows in batches.",
    squawk=("adding-field-with-default", "adding-serial-primary-key-field"),
)
def rewriting_default(statement: SeenStatement, file: SeenFile) -> Iterator[Hit]:
    for column in _added_columns(statement, file):
        reason = rewrites(column)
        if reason:
            yield Hit(
                f"{reason} for the new column {column.colname} rewrites every row of {statement.table}, and blocks "
                "reads and writes until the end.",
                column.location,
            )


def rewrites(column: Node) -> str | None:
    """The reason why a new ``column`` makes the server rewrite the table."""
    if strings(column.type_name.names)[-1] in _SERIALS:
        return "A sequence"
    for kind, constraint in column_constraints(column):
        if kind == "CONSTR_IDENTITY":
            return "An identity"
        if kind == "CONSTR_GENERATED" and constraint.generated_kind != "v":
            return "A stored expression"
        if kind == "CONSTR_DEFAULT":
            for message in nested(constraint.raw_expr):
                function = strings(message.funcname)[-1] if message.DESCRIPTOR.name == "FuncCall" else None
                if function in _VOLATILE:
                    return f"The volatile default {function}()"
                if function and function not in _STEADY:
                    return f"The default {function}(), unless it is declared STABLE or IMMUTABLE,"
    return None


@rule(
    "PGDBM004",
    "required-column",
    "error",
    "alter_table_stmt",
    advice="Give it a default; or add it without NOT NULL, fill it, and then follow PGDBM006.",
    squawk=("adding-required-field",),
)
def required_column(statement: SeenStatement, file: SeenFile) -> Iterator[Hit]:
    for column in _added_columns(statement, file):
        kinds = {kind for kind, _ in column_constraints(column)}
        filled = kinds & {"CONSTR_DEFAULT", "CONSTR_IDENTITY", "CONSTR_GENERATED"}
        if filled or strings(column.type_name.names)[-1] in _SERIALS:
            continue
        if kinds & {"CONSTR_NOTNULL", "CONSTR_PRIMARY"}:
            yield Hit(
                f"The new column {column.colname} must not be null and has no default: this fails as soon as "
                f"{statement.table} has a row.",
                column.location,
            )


@rule(
    "PGDBM005",
    "column-type",
    "warning",
    "alter_table_stmt",
    advice="Add a column of the new type, fill it in batches, and switch the programs over.",
    squawk=("changing-column-type",),
)
def column_type(statement: SeenStatement, file: SeenFile) -> Iterator[Hit]:
    if file.is_new(statement.table):
        return
    for kind, command, about in statement.commands:
        if kind != "AT_AlterColumnType":
            continue
        name = strings(about.type_name.names)[-1]
        computed = about.HasField("raw_default")
        new = None if computed else ColumnType.written(about.type_name)
        # Usually the old type was a shorter form of the same type, which only the catalog knows.
        suspected = new is not None and name in _WIDEST and not new.limits
        yield Hit(
            f"The new type {name} of {command.name} may rewrite every row of {statement.table} and its "
            "indexes, and blocks reads and writes until the end.",
            about.location,
            retyped=Retyped(command.name, new, about.HasField("coll_clause")),
            suspected=suspected,
        )


@rule(
    "PGDBM006",
    "set-not-null",
    "warning",
    "alter_table_stmt",
    advice=(
        "Before it, in files of their own: ADD CONSTRAINT … CHECK (column IS NOT NULL) NOT VALID, then VALIDATE "
        "CONSTRAINT; SET NOT NULL accepts that as proof. Since PostgreSQL 18, ADD CONSTRAINT … NOT NULL column "
        "NOT VALID and VALIDATE CONSTRAINT are enough."
    ),
    squawk=("adding-not-nullable-field",),
)
def set_not_null(statement: SeenStatement, file: SeenFile) -> Iterator[Hit]:
    table = statement.table
    if file.is_new(table):
        return
    for kind, command, about in statement.commands:
        columns: list[str] = []
        if kind == "AT_SetNotNull":
            columns = [command.name]
        elif (
            kind == "AT_AddConstraint" and enum_name(about, "contype") == "CONSTR_NOTNULL" and not about.skip_validation
        ):
            columns = strings(about.keys)
        for column in columns:
            if (table, column) not in file.constraints.proved:
                yield Hit(
                    f"The server scans all of {table} to check that {column} is never null, and blocks reads and "
                    "writes.",
                    about.location if about is not None and kind == "AT_AddConstraint" else None,
                    column,
                )


RULES = (rewriting_default, required_column, column_type, set_not_null)
