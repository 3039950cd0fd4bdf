"""The safer form of constraints: added without a check of the rows, and validated afterwards. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ....pgparse.tree import enum_name, nested, strings
from .steps import Place, Replacement, Step
from .text import default_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from ....pgparse.tree import Node
    from .subcommand import Subcommand
    from .text import Piece

_RULES = {
    "CONSTR_CHECK": "PGDBM008",
    "CONSTR_FOREIGN": "PGDBM007",
    "CONSTR_NOTNULL": "PGDBM006",
    "CONSTR_PRIMARY": "PGDBM010",
    "CONSTR_UNIQUE": "PGDBM010",
}
_LABELS = {"CONSTR_FOREIGN": "fkey", "CONSTR_CHECK": "check", "CONSTR_NOTNULL": "not_null", "CONSTR_UNIQUE": "key"}


def not_null_steps(command: Subcommand, columns: Sequence[str], name: str) -> Iterator[Step]:
    """SET NOT NULL on ``columns``, which scans nothing because a CHECK named ``name`` proves it."""
    shown = [command.name(column) for column in columns]
    condition = " AND ".join(f"{column} IS NOT NULL" for column in shown)
    check = command.name(name)
    yield Step(f"{command.head} ADD CONSTRAINT {check} CHECK ({condition}) NOT VALID;")
    yield Step(f"{command.head} VALIDATE CONSTRAINT {check};", Place.ALONE)
    set_each = ", ".join(f"ALTER COLUMN {column} SET NOT NULL" for column in shown)
    yield Step(f"{command.head} {set_each};")
    yield Step(f"{command.head} DROP CONSTRAINT {check};")


def set_not_null_steps(command: Subcommand, column: str) -> Iterator[Step]:
    return not_null_steps(command, [column], default_name(command.table, [column], "not_null_check"))


def validated_steps(command: Subcommand, definition: str, name: str) -> Iterator[Step]:
    """Steps that add the constraint ``definition``, named ``name``, without checking the rows, and then check them."""
    yield Step(f"{command.head} ADD CONSTRAINT {name} {definition} NOT VALID;")
    yield Step(f"{command.head} VALIDATE CONSTRAINT {name};", Place.ALONE)


def index_steps(command: Subcommand, constraint: Node, piece: Piece, name: str) -> list[Step]:
    """UNIQUE or PRIMARY KEY, with an index that is built concurrently; none if that is not possible."""
    opening = piece.find("(")
    if opening is None or constraint.without_overlaps:
        return []
    columns_end = piece.closing(opening) + 1
    with_options = piece.find("WITH", start=columns_end)
    tablespace = piece.find("USING", "INDEX", "TABLESPACE", start=columns_end)
    attributes = min(
        (
            found
            for words in (("DEFERRABLE",), ("NOT", "DEFERRABLE"), ("INITIALLY",))
            if (found := piece.find(*words, start=columns_end)) is not None
        ),
        default=len(piece.words),
    )
    definition = [piece.source(opening, with_options or tablespace or attributes)]
    if constraint.nulls_not_distinct:
        definition.append("NULLS NOT DISTINCT")
    if with_options is not None:
        definition.append(piece.source(with_options, tablespace or attributes))
    if tablespace is not None:
        definition.append(piece.source(tablespace + 2, attributes))
    kind = "PRIMARY KEY" if enum_name(constraint, "contype") == "CONSTR_PRIMARY" else "UNIQUE"
    ending = f" {piece.source(attributes)}" if attributes < len(piece.words) else ""
    index = f"CREATE UNIQUE INDEX CONCURRENTLY {name} ON {command.relation} {' '.join(definition)};"
    return [
        Step(index, Place.OUTSIDE),
        Step(f"{command.head} ADD CONSTRAINT {name} {kind} USING INDEX {name}{ending};"),
    ]


def constraint_name(command: Subcommand, constraint: Node) -> str:
    """The name of ``constraint``, or the one that PostgreSQL would give it."""
    if constraint.conname:
        return command.name(constraint.conname)
    kind = enum_name(constraint, "contype")
    if kind == "CONSTR_PRIMARY":
        return command.name(default_name(command.table, [], "pkey"))
    columns: Sequence[str]
    if kind == "CONSTR_FOREIGN":
        columns = strings(constraint.fk_attrs)
    elif kind == "CONSTR_CHECK":
        columns = sorted(_columns_in(constraint.raw_expr))
        columns = columns if len(columns) == 1 else []
    else:
        columns = strings(constraint.keys)
    return command.name(default_name(command.table, columns, _LABELS[kind]))


def _columns_in(expression: Node) -> set[str]:
    return {strings(one.fields)[-1] for one in nested(expression) if one.DESCRIPTOR.name == "ColumnRef"}


def fix_set_not_null(command: Subcommand, rules: Collection[str]) -> Replacement | None:
    if "PGDBM006" not in rules:
        return None
    return Replacement(list(set_not_null_steps(command, command.node.name)), frozenset({"PGDBM006"}))


def fix_constraint(command: Subcommand, rules: Collection[str]) -> Replacement | None:
    kind = enum_name(command.about, "contype")
    rule = _RULES.get(kind)
    if rule not in rules or rule is None or command.about.skip_validation or command.about.indexname:
        return None
    # The position after ADD, or after ADD CONSTRAINT name.
    definition = command.piece.part(3 if command.piece.words[1] == "CONSTRAINT" else 1)
    name = constraint_name(command, command.about)
    if rule != "PGDBM010":
        return Replacement(list(validated_steps(command, definition.source(), name)), frozenset({rule}))
    steps = index_steps(command, command.about, definition, name)
    facts = command.facts
    nullable = [one for one in strings(command.about.keys) if facts is None or not facts.never_null(one)]
    if kind == "CONSTR_PRIMARY" and nullable and steps:
        check = default_name(command.table, ["pkey"], "not_null_check")
        steps = [*not_null_steps(command, nullable, check), *steps]
    return Replacement(steps, frozenset({rule})) if steps else None


def fix_validate(command: Subcommand, rules: Collection[str]) -> Replacement | None:
    if "PGDBM029" not in rules:
        return None
    return Replacement([Step(f"{command.head} {command.piece.source()};", Place.ALONE)], frozenset({"PGDBM029"}))
