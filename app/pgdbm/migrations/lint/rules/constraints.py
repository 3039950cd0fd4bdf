"""Rules about constraints on tables that are in use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ....pgparse.tree import column_constraints, enum_name, relation_name
from .rule import Hit, rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ....pgparse.tree import Node
    from .rule import SeenFile, SeenStatement


def _added(statement: SeenStatement, file: SeenFile) -> Iterator[tuple[str, Node]]:
    """(kind, constraint) of each constraint that is added to a table that is in use."""
    if file.is_new(statement.table):
        return
    for kind, _, about in statement.commands:
        if kind == "AT_AddConstraint":
            yield enum_name(about, "contype"), about


def _with_columns(statement: SeenStatement, file: SeenFile) -> Iterator[tuple[str, Node]]:
    """The same for the constraints of added columns."""
    if file.is_new(statement.table):
        return
    for kind, _, about in statement.commands:
        if kind == "AT_AddColumn":
            yield from column_constraints(about)


@rule(
    "PGDBM007",
    "foreign-key-scan",
    "warning",
    "alter_table_stmt",
    advice="Add it NOT VALID, and VALIDATE CONSTRAINT in a separate file, which blocks neither reads nor writes.",
    squawk=("adding-foreign-key-constraint", "constraint-missing-not-valid"),
)
def foreign_key_scan(statement: SeenStatement, file: SeenFile) -> Iterator[Hit]:
    for kind, constraint in _added(statement, file):
        if kind == "CONSTR_FOREIGN" and not constraint.skip_validation and constraint.is_enforced:
            yield Hit(
                f"The server checks every row of {statement.table}, and blocks writes to it and to "
                f"{relation_name(constraint.pktable)}.",
                constraint.location,
            )


@rule(
    "PGDBM008",
    "check-scan",
    "warning",
    "alter_table_stmt",
    advice="Add it NOT VALID, and VALIDATE CONSTRAINT in a separate file, which blocks neither reads nor writes.",
    squawk=("constraint-missing-not-valid",),
)
def check_scan(statement: SeenStatement, file: SeenFile) -> Iterator[Hit]:
    for kind, constraint in (*_added(statement, file), *_with_columns(statement, file)):
        if kind == "CONSTR_CHECK" and not constraint.skip_validation and constraint.is_enforced:
            yield Hit(
                f"The server checks every row of {statement.table}, and blocks reads and writes.",
                constraint.location,
            )


@rule(
    "PGDBM010",
    "constraint-builds-index",
    "warning",
    "alter_table_stmt",
    advice=(
        "CREATE UNIQUE INDEX CONCURRENTLY in a file that says -- pgdbm:no-transaction, then ADD CONSTRAINT … USING "
        "INDEX. For EXCLUDE there is no such way."
    ),
    squawk=("disallowed-unique-constraint", "adding-serial-primary-key-field"),
)
def constraint_builds_index(statement: SeenStatement, file: SeenFile) -> Iterator[Hit]:
    for kind, constraint in (*_added(statement, file), *_with_columns(statement, file)):
        if kind in ("CONSTR_UNIQUE", "CONSTR_PRIMARY", "CONSTR_EXCLUSION") and not constraint.indexname:
            yield Hit(
                f"The server builds the index of the constraint, and blocks reads and writes of {statement.table}.",
                constraint.location,
            )


@rule(
    "PGDBM029",
    "validated-in-one-transaction",
    "warning",
    "alter_table_stmt",
    advice="Put VALIDATE CONSTRAINT into the next file.",
)
def validated_in_one_transaction(statement: SeenStatement, file: SeenFile) -> Iterator[Hit]:
    for kind, command, _ in statement.commands:
        if kind != "AT_ValidateConstraint" or not file.parsed.transactional or file.is_new(statement.table):
            continue
        if (statement.table, command.name) in file.not_valid:
            yield Hit(
                f"{command.name} was added in this transaction, which still holds that lock on {statement.table} "
                "while every row is checked: NOT VALID gains nothing."
            )


RULES = (foreign_key_scan, check_scan, constraint_builds_index, validated_in_one_transaction)
