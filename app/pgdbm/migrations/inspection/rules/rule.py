"""What a rule is, and what it looks at: a statement, and the file as far as it has come."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from ..parsetree import alter_commands, definition, enum_name, object_names, object_type, relation_name, strings
from ..relations import Reference, references

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ...parser import ParsedMigration
    from ..lockmodes import StatementLock

Severity = Literal["error", "warning", "info"]
"""``error``: expected to fail, or to lose what nobody meant to lose. ``warning``: hurts others while it runs, or breaks
programs that run. ``info``: worth knowing."""


@dataclass(frozen=True, slots=True)
class Hit:
    """What a rule has to say of a statement. ``location``: bytes in the rendered text; None is where it begins."""

    message: str
    location: int | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule with its stable id. ``squawk``: the rules of squawk that say the same of the same statement."""

    id: str
    name: str
    severity: Severity
    advice: str
    squawk: frozenset[str]
    kinds: frozenset[str]
    check: Callable[[SeenStatement, SeenFile], Iterator[Hit]]


def rule(
    rule_id: str, name: str, severity: Severity, *kinds: str, advice: str, squawk: tuple[str, ...] = ()
) -> Callable[[Callable[[SeenStatement, SeenFile], Iterator[Hit]]], Rule]:
    """Makes a rule of a function that looks at statements of ``kinds`` (none: of every kind)."""

    def made(check: Callable[[SeenStatement, SeenFile], Iterator[Hit]]) -> Rule:
        return Rule(rule_id, name, severity, advice, frozenset(squawk), frozenset(kinds), check)

    return made


@dataclass(frozen=True)
class SeenStatement:
    """A statement with its node; ``start`` and ``end`` are characters in the rendered text."""

    number: int
    start: int
    end: int
    kind: str
    node: Any
    locks: tuple[StatementLock, ...]

    @cached_property
    def references(self) -> tuple[Reference, ...]:
        return tuple(references(self.node))

    @cached_property
    def commands(self) -> tuple[tuple[str, Any, Any], ...]:
        """(kind, subcommand, the node it is about) of an ALTER TABLE."""
        return tuple((kind, command, _inner(definition(command))) for kind, command in alter_commands(self.node))

    @property
    def table(self) -> str:
        """The relation that the statement is about."""
        return relation_name(self.node.relation)


def _inner(wrapped: Any) -> Any:
    chosen = wrapped.WhichOneof("node")
    return getattr(wrapped, chosen) if chosen else None


@dataclass
class Constraints:
    """What the files of a plan, one after the other, have said of NOT NULL: it may be proved in an earlier file."""

    waiting: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    proved: set[tuple[str, str]] = field(default_factory=set)


_FIRST_WITH_NEW_ENUMS_WHOLE = 17
"""Before it, a value that is added to an enum is unsafe until the commit, even if the enum itself is as new."""


@dataclass
class SeenFile:
    """The file up to the statement that is looked at. ``schema`` None: rendered without one."""

    parsed: ParsedMigration
    schema: str | None
    server_version: int
    constraints: Constraints
    created: set[str] = field(default_factory=set)
    temporary: set[str] = field(default_factory=set)
    not_valid: set[tuple[str, str]] = field(default_factory=set)
    exclusive: set[str] = field(default_factory=set)
    enum_values: dict[str, str] = field(default_factory=dict)
    _created_enums: set[str] = field(default_factory=set)

    @cached_property
    def _edit_starts(self) -> list[int]:
        return [start for start, *_ in self.parsed.rendered.edits]

    @cached_property
    def _encoded(self) -> bytes | None:
        text = self.parsed.rendered.text
        return None if text.isascii() else text.encode()

    def offset(self, location: int) -> int:
        """Characters for bytes."""
        return location if self._encoded is None else len(self._encoded[:location].decode(errors="replace"))

    def is_placeholder(self, location: int) -> bool:
        """Whether what stands at ``location`` comes out of a placeholder."""
        offset = self.offset(location)
        index = bisect_right(self._edit_starts, offset) - 1
        if index < 0:
            return False
        start, length, *_ = self.parsed.rendered.edits[index]
        # At the very end too: {{schema}}. is nothing where there is no schema, and the name follows.
        return offset <= start + length

    def has_placeholder_for(self, statement: SeenStatement, name: list[str]) -> bool:
        """Whether a placeholder in ``statement`` gives ``name``, for names that the parser does not place."""
        whole = ".".join(name)
        for start, length, *_ in self.parsed.rendered.edits:
            if statement.start <= start < statement.end:
                given = self.parsed.rendered.text[start : start + length].replace('"', "")
                # With its dot: {{tables.orders}}.total is a column, {{schema}}.orders a table.
                if given.removesuffix(".") in ("", whole) or (given.endswith(".") and whole.startswith(given)):
                    return True
        return False

    def is_new(self, relation: str) -> bool:
        """Whether the file itself made ``relation``, so that nobody waits for it and it holds next to nothing."""
        return relation in self.created or relation in self.temporary

    def note(self, statement: SeenStatement) -> None:
        """Remember what ``statement`` did, after the rules have looked at it."""
        made = _made(statement)
        self.created |= made
        self.temporary |= {one.name for one in statement.references if one.temporary}
        if statement.kind == "create_enum_stmt":
            self._created_enums.add(".".join(strings(statement.node.type_name)))
        elif statement.kind == "alter_enum_stmt" and not statement.node.old_val:
            enum = ".".join(strings(statement.node.type_name))
            if enum not in self._created_enums or self.server_version < _FIRST_WITH_NEW_ENUMS_WHOLE:
                self.enum_values[statement.node.new_val] = enum
        elif statement.kind == "alter_table_stmt":
            self._note_constraints(statement)

    def _note_constraints(self, statement: SeenStatement) -> None:
        table = statement.table
        for kind, command, about in statement.commands:
            if kind == "AT_AddConstraint":
                columns = not_null_columns(about)
                if about.skip_validation:
                    self.not_valid.add((table, about.conname))
                    self.constraints.waiting[table, about.conname] = columns
                elif enum_name(about, "contype") in ("CONSTR_CHECK", "CONSTR_NOTNULL"):
                    self.constraints.proved |= {(table, column) for column in columns}
            elif kind == "AT_ValidateConstraint":
                columns = self.constraints.waiting.pop((table, command.name), [])
                self.constraints.proved |= {(table, column) for column in columns}


def not_null_columns(constraint: Any) -> list[str]:
    """The columns that ``constraint`` keeps from being null: CHECK (a IS NOT NULL AND …) or NOT NULL a."""
    if enum_name(constraint, "contype") == "CONSTR_NOTNULL":
        return strings(constraint.keys)
    return list(_not_null_in(constraint.raw_expr))


def _not_null_in(expression: Any) -> Iterator[str]:
    chosen = expression.WhichOneof("node")
    if chosen == "null_test":
        test = expression.null_test
        if enum_name(test, "nulltesttype") == "IS_NOT_NULL" and test.arg.WhichOneof("node") == "column_ref":
            yield strings(test.arg.column_ref.fields)[-1]
    elif chosen == "bool_expr" and enum_name(expression.bool_expr, "boolop") == "AND_EXPR":
        for part in expression.bool_expr.args:
            yield from _not_null_in(part)


def _made(statement: SeenStatement) -> set[str]:
    node = statement.node
    if statement.kind == "create_stmt":
        return {relation_name(node.relation)}
    if statement.kind == "create_foreign_table_stmt":
        return {relation_name(node.base_stmt.relation)}
    if statement.kind == "create_seq_stmt":
        return {relation_name(node.sequence)}
    if statement.kind == "view_stmt":
        return set() if node.replace else {relation_name(node.view)}
    return {reference.relation for reference in statement.references if reference.made}


def dropped(statement: SeenStatement) -> tuple[str, list[str]]:
    """(kind of object, names) of a DROP statement."""
    return object_type(statement.node, "remove_type"), [".".join(name) for name in object_names(statement.node)]
