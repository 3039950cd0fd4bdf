"""The steps of a file without a transaction: its statements, and BEGIN … COMMIT blocks as one step each. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ...errors import MigrationFileError

if TYPE_CHECKING:
    from ...pgparse.traits import Traits
    from ..sources.parser import ParsedMigration
    from ..sources.statements import Statement

_BEGINS = re.compile(r"(?:BEGIN|START)\b", re.IGNORECASE)
_ENDS = re.compile(r"(?:COMMIT|END|ROLLBACK|ABORT|PREPARE)\b(?!\s+(?:PREPARED|TO)\b)", re.IGNORECASE)
_COMMITS = re.compile(r"(?:COMMIT|END)\b", re.IGNORECASE)
_CHAINS = re.compile(r"\bAND\s+CHAIN\b", re.IGNORECASE)


class Part(NamedTuple):
    """A part of a step that is sent as one message: statements, or a COPY with its rows.

    ``start`` is an offset in the text of the step, ``first`` the index of the first statement.
    """

    start: int
    first: int
    text: str
    copy: Statement | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A unit with one journal entry: a statement, or a transaction that the file itself begins.

    ``number`` is that of its first statement. ``before_end`` is the length of ``text`` before the COMMIT of a block.
    """

    statements: tuple[Statement, ...]
    text: str
    before_end: int | None = None

    @property
    def first(self) -> Statement:
        return self.statements[0]

    def parts(self, text: str) -> list[Part]:
        """``text``, the text of the step or its replacement, in the parts that are sent one by one."""
        found: list[Part] = []
        position = number = 0
        for index, one in enumerate(self.statements):
            if one.copy_data is None:
                continue
            start = one.start - self.first.start
            if text[position:start].strip("; \t\r\n"):
                found.append(Part(position, number, text[position:start]))
            found.append(Part(start, index, "", one))
            position, number = one.end - self.first.start, index + 1
        if not found or text[position:].strip("; \t\r\n"):
            found.append(Part(position, number, text[position:]))
        return found

    @property
    def number(self) -> int:
        return self.first.number

    @property
    def traits(self) -> Traits:
        return self.first.traits

    @property
    def copies(self) -> tuple[Statement, ...]:
        """The statements with rows, which are sent with the COPY protocol."""
        return tuple(one for one in self.statements if one.copy_data is not None)

    @property
    def content(self) -> str:
        """What must not change once the step is applied: the text, and the rows."""
        rows = [one.copy_data.text for one in self.copies if one.copy_data is not None]
        return "\n".join([self.text, *rows]) if rows else self.text

    @property
    def is_block(self) -> bool:
        return len(self.statements) > 1

    @property
    def changes_session(self) -> bool:
        return any(one.traits.changes_session for one in self.statements)

    def at(self, offset: int) -> tuple[Statement, int]:
        """The statement at ``offset`` of the text, and the offset in that statement's own text."""
        for one in reversed(self.statements):
            begin = one.start - self.first.start
            if begin <= offset:
                return one, offset - begin
        return self.first, offset


def steps_of(migration: ParsedMigration) -> tuple[Step, ...]:
    """The steps of ``migration``, in order.

    Raises:
        MigrationFileError: a block has no end. The server would roll it back when the session ends.
    """
    steps: list[Step] = []
    block: list[Statement] = []
    for one in migration.statements:
        text = migration.text_of(one)
        controls = one.traits.controls_transaction
        if block:
            block.append(one)
            if controls and _ENDS.match(text) and not _CHAINS.search(text):
                steps.append(_block(migration, block, commits=_COMMITS.match(text) is not None))
                block = []
        elif controls and _BEGINS.match(text):
            block = [one]
        else:
            steps.append(Step((one,), text))
    if block:
        line, column = migration.position(block[0].start)
        raise MigrationFileError(
            f"{migration.filename}:{line}:{column}: statement {block[0].number} begins a transaction that the file "
            f"does not end",
            migration.filename,
            line=line,
            column=column,
            hint="Write COMMIT at its end.",
        )
    return tuple(steps)


def _block(migration: ParsedMigration, block: list[Statement], *, commits: bool) -> Step:
    first, last = block[0], block[-1]
    text = migration.rendered.text[first.start : last.end]
    return Step(tuple(block), text, last.start - first.start if commits else None)
