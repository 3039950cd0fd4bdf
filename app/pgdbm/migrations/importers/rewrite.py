"""Converts SQL that was written for another tool. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...errors import MigrationFileError
from ...text import sentence
from ..sources.migration import Migration
from ..sources.own_transaction import OwnBlocks, own_blocks
from ..sources.parser import parse

if TYPE_CHECKING:
    from ..sources.parser import ParsedMigration
    from ..sources.statements import Statement

DIRECTIVE = "-- pgdbm:no-transaction\n"

_BLANK_OR_COMMENT = re.compile(r"(?:\s+|--[^\n]*(?:\n|\Z)|/\*.*?\*/)*", re.DOTALL)
_BEGINS = re.compile(r"(?:begin|start)\b", re.IGNORECASE)
_COMMITS = re.compile(r"(?:commit|end)\b", re.IGNORECASE)


@dataclass(slots=True)
class Converted:
    """The converted files by name, and notes about what to check."""

    files: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, sql: str, *, no_transaction: bool = False, verbatim: bool = False) -> None:
        """Add ``sql`` as the file ``name``, in a form that the engine can execute.

        It gets the no-transaction marker if ``no_transaction`` is set or a statement requires it. Unless ``verbatim``,
        a BEGIN at the start and a COMMIT at the end are removed, because the engine begins and commits.
        """
        if name in self.files:
            self.notes.append(f"{name}: more than one file would have this name; only the first one was written.")
            return
        self.files[name] = self._runnable(name, sql, no_transaction, verbatim)

    def _runnable(self, name: str, sql: str, no_transaction: bool, verbatim: bool) -> str:
        try:
            parsed = parse(Migration(name, "", DIRECTIVE + sql), "public")
        except MigrationFileError as error:
            self.notes.append(f"{sentence(error.message)} It was written unchanged: check it.")
            return DIRECTIVE + sql if no_transaction else sql
        if not no_transaction and own_blocks(parsed.rendered, parsed.statements) == OwnBlocks():
            return sql
        if no_transaction or any(statement.traits.non_transactional for statement in parsed.statements):
            return DIRECTIVE + sql
        control = [statement for statement in parsed.statements if statement.traits.controls_transaction]
        if not control:
            return sql
        if not verbatim:
            bare = _without_frame(parsed, control)
            if bare is not None:
                return bare
        self.notes.append(
            f"{name}: has transaction control (BEGIN, COMMIT and the like), which the engine would refuse in "
            f"a new database. Remove it."
        )
        return sql


def _without_frame(parsed: ParsedMigration, control: list[Statement]) -> str | None:
    """The text without BEGIN as its first statement and COMMIT as its last; None without these."""
    if parsed.rendered.source != parsed.migration.content:
        return None
    first, last = parsed.statements[0], parsed.statements[-1]
    if control != [first, last] or first is last:
        return None
    begin, commit = _word(parsed, first), _word(parsed, last)
    source = parsed.rendered.source
    if not _BEGINS.match(source[begin:]) or not _COMMITS.match(source[commit:]):
        return None
    inner_start = _past_semicolon(source, parsed.rendered.source_offset(first.end))
    inner_end = commit
    tail = _past_semicolon(source, parsed.rendered.source_offset(last.end))
    head = source[len(DIRECTIVE) : begin]
    return (head + source[inner_start:inner_end].lstrip("\n") + source[tail:].lstrip("\n")).rstrip() + "\n"


def _word(parsed: ParsedMigration, statement: Statement) -> int:
    """The position of a statement's first word in the source: the comments before it belong to the statement."""
    source = parsed.rendered.source
    start = parsed.rendered.source_offset(statement.start)
    blank = _BLANK_OR_COMMENT.match(source, start)
    return blank.end() if blank else start


def _past_semicolon(source: str, offset: int) -> int:
    semicolon = re.compile(r"\s*;").match(source, offset)
    return semicolon.end() if semicolon else offset
