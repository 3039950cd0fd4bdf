"""The files that replace one with findings: some of its statements are replaced, the others are unchanged. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ....pgparse.lexer import tokens
from .alter_table import fix_alter_table
from .backfills import fix_every_row
from .indexes import fix_create_index, fix_drop_index, fix_refresh, fix_reindex
from .steps import NO_TRANSACTION, Place, Replacement, Step, divided, names_of
from .text import StatementText

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from ....core.templating import Rendered
    from ...sources.parser import ParsedMigration
    from ...sources.statements import Statement
    from ..rules import SeenStatement
    from ..tables import TableFacts

_FIXERS: dict[str, Callable[[SeenStatement, StatementText, Collection[str]], Replacement | None]] = {
    "drop_stmt": fix_drop_index,
    "index_stmt": fix_create_index,
    "refresh_mat_view_stmt": fix_refresh,
    "reindex_stmt": fix_reindex,
}
_ENUM_VALUE = "PGDBM018"
FIXED_RULES = frozenset(
    {
        *("PGDBM003", "PGDBM005", "PGDBM006", "PGDBM007", "PGDBM008", "PGDBM009", "PGDBM010", "PGDBM015"),
        *("PGDBM016", _ENUM_VALUE, "PGDBM026", "PGDBM027", "PGDBM028", "PGDBM029"),
    }
)
"""The rules whose findings may have a fix."""
# Their effect outlasts the statement, so a file with one of them cannot be divided.
_LASTING = frozenset({"constraints_set_stmt", "declare_cursor_stmt", "lock_stmt", "prepare_stmt", "transaction_stmt"})
_SETS = "variable_set_stmt"


class Fixable(NamedTuple):
    """A statement with findings that may have a fix. ``shift`` is the shift of its parse tree."""

    statement: SeenStatement
    shift: int


@dataclass(frozen=True, slots=True)
class _Part:
    """A statement in the source: the comments before it, its text, and what follows it up to the end of its line."""

    number: int
    before: str
    text: str
    after: str


def replacement_of(
    parsed: ParsedMigration, fixable: Fixable, rules: Collection[str], facts: Mapping[str, TableFacts]
) -> Replacement | None:
    """The replacement of a statement with findings of ``rules``; None if there is nothing safer."""
    statement = fixable.statement
    text = StatementText(parsed.rendered, statement.start, statement.end, fixable.shift)
    made: Replacement | None = None
    if statement.kind == "alter_table_stmt":
        made = fix_alter_table(statement, text, rules, facts.get(statement.table))
    elif statement.kind in ("update_stmt", "delete_stmt"):
        made = fix_every_row(statement, text, rules, facts.get(statement.table))
    elif statement.kind in _FIXERS:
        made = _FIXERS[statement.kind](statement, text, rules)
    if _ENUM_VALUE in rules and (made is None or made.steps[0].place is Place.SAME):
        first, *others = made.steps if made is not None else [Step(f"{text.source()};")]
        settled = frozenset({_ENUM_VALUE, *(made.rules if made is not None else ())})
        made = Replacement([first._replace(place=Place.NEW), *others], settled)
    return made


def _parts(rendered: Rendered, statements: Sequence[Statement]) -> list[_Part]:
    source = rendered.source
    spans = [(rendered.source_offset(one.start), rendered.source_offset(one.end)) for one in statements]
    parts = []
    begin = 0
    for number, (start, end) in enumerate(spans):
        limit = spans[number + 1][0] if number + 1 < len(spans) else len(source)
        tail = _tail(source, end, limit)
        if number + 1 == len(spans) and source[tail:].strip():
            tail = len(source.rstrip())
        after = source[end:tail].replace(";", "", 1).rstrip()
        gap = source[begin:start]
        before = ("\n" if gap.startswith("\n\n") else "") + gap.strip()
        parts.append(_Part(number + 1, before, source[start:end].rstrip(), after))
        begin = tail
    return parts


def _tail(source: str, end: int, limit: int) -> int:
    """The end of the semicolon at ``end``, and of a comment after it on the same line."""
    tail = end
    for kind, start, stop in tokens(source[:limit], end):
        if "\n" in source[tail:start] or (kind != "comment" and source[start:stop] != ";"):
            break
        tail = stop
    return tail


def _steps(part: _Part, made: Replacement | None, parsed: ParsedMigration) -> list[Step]:
    outside = Place.SAME if parsed.transactional else Place.OUTSIDE
    steps = made.steps if made is not None else [Step(f"{part.text};", outside)]
    after = part.after if part.after.startswith("\n") or not part.after else f" {part.after.strip()}"
    before = f"{part.before}\n" if part.before.strip() else part.before
    first = steps[0]._replace(sql=f"{before}{steps[0].sql}{after}")
    return [step._replace(statement=part.number) for step in (first, *steps[1:])]


class WrittenFile(NamedTuple):
    """A file of a fix, with its steps."""

    name: str
    sql: str
    steps: Sequence[Step]


def files_of(
    parsed: ParsedMigration, replacements: Mapping[int, Replacement], others: Collection[str]
) -> list[WrittenFile]:
    """The files that replace ``parsed``, whose statements with these numbers are replaced.

    ``others`` are the names of all migrations, between which the new files must sort. There are no files if it
    cannot be divided, or if there are no such names.
    """
    if parsed.rendered.source != parsed.migration.content:
        # It has rows for COPY, or commands of psql.
        return []
    parts = _parts(parsed.rendered, parsed.statements)
    steps = [step for part in parts for step in _steps(part, replacements.get(part.number), parsed)]
    if not parsed.transactional:
        if any(step.place is Place.BACKFILL for step in steps):
            return []
        # Its statements commit one by one.
        return [WrittenFile(parsed.filename, _text(steps), steps)]
    files = divided(steps)
    kinds = {one.number: one.traits.kind for one in parsed.statements}
    if len(files) > 1 and (_LASTING & set(kinds.values()) or _is_temporary(parsed)):
        return []
    names = names_of(parsed.filename, len(files), others)
    if names is None:
        return []
    made = []
    settings: list[str] = []
    for name, file in zip(names, files, strict=True):
        repeated = [one for one in settings if file.transactional or " local " not in f" {one.lower()} "]
        sql = "".join(f"{one}\n" for one in repeated if file.steps[0].place is not Place.BACKFILL)
        marker = "" if file.transactional else f"{NO_TRANSACTION}\n"
        made.append(WrittenFile(name, marker + sql + _text(file.steps), file.steps))
        settings += [f"{parts[step.statement - 1].text};" for step in file.steps if kinds[step.statement] == _SETS]
    return made


def _text(steps: Sequence[Step]) -> str:
    return "\n".join(step.sql for step in steps).lstrip("\n") + "\n"


def _is_temporary(parsed: ParsedMigration) -> bool:
    return any("TEMP" in parsed.text_of(one)[:20].upper() for one in parsed.statements)
