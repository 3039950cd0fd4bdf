"""Backfills: files with ``-- pgdbm:backfill`` hold one statement over a range of keys, which runs in batches. Pure.

``$from`` and ``$to`` are the first and the last key of a batch, inclusive. With a key of several columns they are
rows: ``WHERE (tenant, id) BETWEEN $from AND $to``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from ...core.templating import TemplateError, render
from ...pgparse.lexer import tokens
from ...pgparse.tree import statement_node
from ...sql import statement
from .directives import BACKFILL, directives
from .migration import BACKGROUND

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ...pgparse.tree import Node
    from .directives import Directive
    from .migration import Migration
    from .statements import Statement

_NAME = r'(?:"(?:[^"]|"")+"|[^\W\d]\w*)'
_TABLE = re.compile(rf"{_NAME}(?:\.{_NAME})?\Z")
_COLUMN = re.compile(rf"{_NAME}\Z")
_SECONDS = re.compile(r"(\d+(?:\.\d+)?)(ms|s|min)\Z")
_BYTES = re.compile(r"(\d+)(kB|MB|GB)\Z")
_SCALE = {"ms": 0.001, "s": 1.0, "min": 60.0, "kB": 1024, "MB": 1024**2, "GB": 1024**3}
_MOST_ROWS = 1_000_000
# They are as long as the text they replace, so that positions stay the same.
_PARAMETERS = {"from": "$0001", "to": "$02"}
_KINDS = {"update_stmt": "UPDATE", "delete_stmt": "DELETE", "insert_stmt": "INSERT"}
_WITHOUT = "off"


class BackfillError(ValueError):
    """What is wrong with a backfill, at ``offset`` of the file (in characters) if that is known."""

    def __init__(self, reason: str, offset: int | None = None) -> None:
        super().__init__(reason)
        self.offset = offset


class Bound(NamedTuple):
    """A ``$from`` or ``$to``: its offsets in the rendered text, and which of the two it is."""

    start: int
    end: int
    name: str


@dataclass(frozen=True, slots=True)
class Backfill:
    """The header of a backfill, and where the bounds of a batch are in its statement.

    ``table`` and the columns of ``key`` are SQL. ``batch``: rows of the first batch. ``target_s``: how long a batch
    should take. ``pause_s``: seconds between two batches. ``rate``: maximum number of rows per second. ``max_lag_s``
    and ``max_lag_bytes``: how far a standby may lag behind; None: any. ``waits_for_vacuum``: whether it stops while
    autovacuum works on the table. ``in_background``: files after it need not wait for it. ``offset``: the position of
    the header in the file, in characters. ``returns``: whether the statement has a RETURNING clause.
    """

    table: str
    key: tuple[str, ...]
    offset: int
    batch: int = 1000
    target_s: float = 0.25
    pause_s: float = 0.0
    rate: int | None = None
    max_lag_s: float | None = 10.0
    max_lag_bytes: int | None = None
    waits_for_vacuum: bool = True
    in_background: bool = False
    bounds: tuple[Bound, ...] = ()
    returns: bool = False

    def between(self, text: str, start: int, first: str, last: str) -> BoundText:
        """``text``, which is at ``start`` of the rendered text, with the SQL ``first`` and ``last`` as the bounds."""
        parts: list[str] = []
        edits: list[tuple[int, int, int]] = []
        position, length = 0, 0
        for bound in self.bounds:
            head = text[position : bound.start - start]
            value = first if bound.name == "from" else last
            parts += (head, value)
            length += len(head)
            edits.append((length, len(value), bound.end - bound.start))
            length += len(value)
            position = bound.end - start
        return BoundText("".join((*parts, text[position:])), tuple(edits))

    def without_rows(self, text: str, start: int) -> str:
        """:meth:`between` with bounds of the key's types that contain no row."""
        columns = [statement("backfill", "no_key", column=column, table=self.table) for column in self.key]
        nothing = f"ROW({', '.join(columns)})" if len(columns) > 1 else columns[0]
        return self.between(text, start, nothing, nothing).text


class BoundText(NamedTuple):
    """A statement with the bounds of a batch. ``edits``: the position of each value, its length, and the length of its
    name."""

    text: str
    edits: tuple[tuple[int, int, int], ...]

    def offset_in_file(self, offset: int) -> int:
        """The offset in the statement as written in the file, for ``offset`` in the text."""
        shift = 0
        for start, length, before in self.edits:
            if offset < start:
                break
            if offset < start + length:
                return start + shift
            shift += before - length
        return offset + shift


def header_of(migration: Migration, schema: str | None) -> Backfill | None:
    """The header of ``migration`` for ``schema``; None if it is not a backfill.

    Raises:
        BackfillError: it is not valid.
    """
    found = [one for one in directives(migration.content) if one.name == BACKFILL]
    if not found:
        return None
    if len(found) > 1:
        raise BackfillError("the file has two lines `-- pgdbm:backfill`: write a file for each.", found[1].start)
    return _read(found[0], schema)


def _read(directive: Directive, schema: str | None) -> Backfill:
    values: dict[str, str] = {}
    for word in _words(directive.text):
        name, equals, value = word.partition("=")
        if name in values or not (equals or name == BACKGROUND):
            raise BackfillError(f"{word!r} is not an option of a backfill, or is given twice.", directive.start)
        values[name] = value
    try:
        backfill = Backfill(_table(values.pop("table", ""), schema), _key(values.pop("key", "")), directive.start)
        options: dict[str, Any] = dict(_option(name, value) for name, value in values.items())
        return replace(backfill, **options)
    except BackfillError as error:
        raise BackfillError(str(error), directive.start) from None


def _words(text: str) -> list[str]:
    # White space inside a placeholder or a quoted name belongs to the word.
    return re.findall(r'(?:\{\{[^}]*\}\}|"[^"]*"|\S)+', text)


def _table(given: str, schema: str | None) -> str:
    try:
        table = render(given, schema).text
    except TemplateError as error:
        raise BackfillError(f"unknown placeholder {error.placeholder}: {error.reason}") from None
    if _TABLE.match(table) is None:
        raise BackfillError("the header needs the table that the batches walk: table={{tables.name}}.")
    return table


def _key(given: str) -> tuple[str, ...]:
    key = tuple(given.split(","))
    if not all(map(_COLUMN.match, key)):
        raise BackfillError("the header needs the key of the table: key=id, or key=tenant,id without a space.")
    return key


def _option(name: str, value: str) -> tuple[str, object]:
    match name:
        case "batch" | "rate" if value.isdecimal() and 0 < int(value) <= _MOST_ROWS:
            return name, int(value)
        case "target" | "pause" if (seconds := _SECONDS.match(value)) is not None:
            return f"{name}_s", max(float(seconds[1]) * _SCALE[seconds[2]], 0.001 if name == "target" else 0.0)
        case "max_lag" if value == _WITHOUT:
            return "max_lag_s", None
        case "max_lag" if (seconds := _SECONDS.match(value)) is not None:
            return "max_lag_s", float(seconds[1]) * _SCALE[seconds[2]]
        case "max_lag_size" if (size := _BYTES.match(value)) is not None:
            return "max_lag_bytes", int(size[1]) * int(_SCALE[size[2]])
        case "autovacuum" if value in ("wait", "ignore"):
            return "waits_for_vacuum", value == "wait"
        case "background" if not value:
            return "in_background", True
    raise BackfillError(
        f"{name}={value} is not valid. The options are batch=1000 and rate=5000 (rows, up to {_MOST_ROWS:,}), "
        f"target=250ms, pause=100ms, max_lag=10s or off, max_lag_size=64MB, autovacuum=wait or ignore, and background."
    )


def with_parameters(text: str) -> str:
    """``text`` with parameters that the parser accepts instead of ``$from`` and ``$to``, with the same offsets."""
    parts: list[str] = []
    position = 0
    for start, end, name in _bounds(text):
        parts += (text[position:start], _PARAMETERS[name])
        position = end
    return "".join((*parts, text[position:]))


def _bounds(text: str) -> Iterator[Bound]:
    dollar = -1
    for kind, start, end in tokens(text):
        if kind == "word" and start == dollar + 1 and (name := text[start:end].lower()) in _PARAMETERS:
            yield Bound(dollar, end, name)
        dollar = start if kind == "punctuation" and text[start] == "$" else -2


def complete(
    backfill: Backfill, filename: str, text: str, statements: Sequence[Statement], trees: Sequence[Node | None]
) -> Backfill:
    """``backfill`` with the bounds of its statement, the first of ``statements`` in the rendered ``text``.

    Raises:
        BackfillError: the statement cannot run in batches.
    """
    if filename.endswith(".down.sql") or filename.startswith("R__"):
        raise BackfillError(
            "a backfill has a version and runs once: down migrations and repeatable ones cannot be backfills."
        )
    if not statements:
        raise BackfillError("a backfill has one statement, but this file has none.")
    first, tree = statements[0], trees[0]
    kind = _KINDS.get(first.traits.kind)
    # An INSERT with a list of rows is batchable.
    if kind is None or tree is None or (kind == "INSERT" and first.traits.batchable):
        raise BackfillError("a backfill is one UPDATE, DELETE or INSERT … SELECT.")
    bounds = tuple(one for one in _bounds(text) if one.start < first.end)
    missing = [f"${name}" for name in _PARAMETERS if name not in {one.name for one in bounds}]
    if missing:
        column = backfill.key[0] if len(backfill.key) == 1 else f"({', '.join(backfill.key)})"
        raise BackfillError(
            f"the statement has no {' and no '.join(missing)}: limit it with WHERE {column} BETWEEN $from AND $to."
        )
    node = statement_node(tree)[1]
    if kind == "UPDATE" and (changed := _changed(node) & {one.strip('"') for one in backfill.key}):
        raise BackfillError(
            f"the statement changes {', '.join(sorted(changed))}, which determines the order of the batches."
        )
    return replace(backfill, bounds=bounds, returns=node.HasField("returning_clause"))


def _changed(update: Node) -> set[str]:
    return {target.res_target.name for target in update.target_list}
