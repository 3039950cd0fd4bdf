"""What a rule is, and what it checks: a statement, and the file up to it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from ....core.templating import QuotedText
from ....pgparse.offsets import CharacterOffsets
from ....pgparse.relations import Reference, references
from ....pgparse.tree import alter_commands, definition, enum_name, object_names, object_type, relation_name, strings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ....pgparse.lock_modes import StatementLock
    from ....pgparse.tree import Node
    from ...sources.parser import ParsedMigration
    from ..column_types import Retyped

Severity = Literal["error", "warning", "info"]
"""``error``: expected to fail, or to lose data. ``warning``: blocks other sessions while it runs, or breaks running
programs. ``info``: worth knowing."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A place in a statement that violates a rule. ``location``: bytes in the rendered text; None: its start.

    ``not_null``: the column, unless the catalog shows that it is never null. ``retyped``: a column with its new type,
    unless the catalog shows that its values stay as they are stored. ``suspected``: reported only if the catalog shows
    that they do not.
    """

    message: str
    location: int | None = None
    not_null: str | None = None
    retyped: Retyped | None = None
    suspected: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule with its stable id. ``squawk``: the equivalent rules of squawk."""

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
    """Turn a function that checks statements of these ``kinds`` (default: all) into a rule."""

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
    node: Node
    locks: tuple[StatementLock, ...]

    @cached_property
    def references(self) -> tuple[Reference, ...]:
        return tuple(references(self.node))

    @cached_property
    def commands(self) -> tuple[tuple[str, Node, Node], ...]:
        """(kind, subcommand, the node it is about) of an ALTER TABLE."""
        return tuple((kind, command, _inner(definition(command))) for kind, command in alter_commands(self.node))

    @property
    def table(self) -> str:
        """The relation that the statement changes."""
        return relation_name(self.node.relation)


def _inner(wrapped: Node) -> Node:
    chosen = wrapped.WhichOneof("node")
    inner: Node = getattr(wrapped, chosen) if chosen else wrapped
    return inner


@dataclass
class Constraints:
    """The constraints in the files of a plan, in order: NOT NULL may have been proved in an earlier file."""

    waiting: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    proved: set[tuple[str, str]] = field(default_factory=set)


_FIRST_WITH_NEW_ENUMS_WHOLE = 17
"""Before it, a value that is added to an enum is unsafe until the commit, even if the enum itself is also new."""


@dataclass
class SeenFile:
    """The file up to the statement that is checked. ``schema`` None: rendered without one.

    ``shift``: what to add to a location in the tree of the statement to get the one in the file.
    """

    parsed: ParsedMigration
    schema: str | None
    server_version: int
    constraints: Constraints
    created: set[str] = field(default_factory=set)
    temporary: set[str] = field(default_factory=set)
    not_valid: set[tuple[str, str]] = field(default_factory=set)
    exclusive: set[str] = field(default_factory=set)
    enum_values: dict[str, str] = field(default_factory=dict)
    shift: int = 0
    _created_enums: set[str] = field(default_factory=set)

    @cached_property
    def _edit_starts(self) -> list[int]:
        return [start for start, *_ in self.parsed.rendered.edits]

    @cached_property
    def _characters(self) -> CharacterOffsets:
        return CharacterOffsets(self.parsed.rendered.text)

    @cached_property
    def quoted(self) -> QuotedText:
        """The quoted text of the source."""
        return QuotedText(self.parsed.rendered.source)

    def offset(self, location: int) -> int:
        """Characters in the file, for bytes in the tree of the statement."""
        return self._characters.of_byte(location + self.shift)

    def location(self, offset: int) -> int:
        """Bytes in the tree of the statement, for characters in the file."""
        return self._characters.to_byte(offset) - self.shift

    def placeholders_in(self, statement: SeenStatement) -> Sequence[tuple[int, int, int, int]]:
        """The placeholders in ``statement``, as :attr:`Rendered.edits` has them."""
        first = bisect_left(self._edit_starts, statement.start)
        return self.parsed.rendered.edits[first : bisect_left(self._edit_starts, statement.end)]

    def is_placeholder(self, location: int) -> bool:
        """Whether the text at ``location`` comes from a placeholder."""
        offset = self.offset(location)
        index = bisect_right(self._edit_starts, offset) - 1
        if index < 0:
            return False
        start, length, *_ = self.parsed.rendered.edits[index]
        # The end counts, too: without a schema, {{schema}}. is empty, and the name follows.
        return offset <= start + length

    def has_placeholder_for(self, statement: SeenStatement, name: list[str]) -> bool:
        """Whether a placeholder in ``statement`` produces ``name``, for names without a position in the parse tree."""
        whole = ".".join(name)
        for start, length, *_ in self.placeholders_in(statement):
            given = self.parsed.rendered.text[start : start + length].replace('"', "")
            # With its dot: {{tables.orders}}.total is a column, {{schema}}.orders a table.
            if given.removesuffix(".") in ("", whole) or (given.endswith(".") and whole.startswith(given)):
                return True
        return False

    def is_new(self, relation: str) -> bool:
        """Whether the file itself created ``relation``, so that it is invisible to other sessions, and almost empty."""
        return relation in self.created or relation in self.temporary

    def note(self, statement: SeenStatement) -> None:
        """Record the effects of ``statement``, after the rules have checked it."""
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


def not_null_columns(constraint: Node) -> list[str]:
    """The columns that ``constraint`` proves not to be null: CHECK (a IS NOT NULL AND …) or NOT NULL a."""
    if enum_name(constraint, "contype") == "CONSTR_NOTNULL":
        return strings(constraint.keys)
    return list(_not_null_in(constraint.raw_expr))


def _not_null_in(expression: Node) -> Iterator[str]:
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
    return {reference.relation for reference in statement.references if reference.created}


def dropped(statement: SeenStatement) -> tuple[str, list[str]]:
    """(kind of object, names) of a DROP statement."""
    return object_type(statement.node, "remove_type"), [".".join(name) for name in object_names(statement.node)]
