"""Parses a migration file into statements.

Pure: no database. Placeholders are rendered first. Reported positions are those in the file as it was written.
"""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from ...core.templating import Rendered, TemplateError, line_and_column, render
from ...errors import MigrationFileError
from ...patterns import late_pattern
from ...pgparse.offsets import size_in_bytes
from ...pgparse.parse import OutOfBoundsError, SQLParseError, SQLSyntaxError, parse_newer, parse_statements
from ...pgparse.pieces import PIECE_CHARACTERS, PieceTrees, parse_piece, pieces_of
from ...pgparse.repetitions import Repetitions
from ...pgparse.traits import Refusal, Traits, traits_of
from ...pgparse.tree import statement_node
from .directives import NO_TRANSACTION, may_have_directives, misplaced, verify_lines
from .foreign_formats import foreign_format, foreign_name
from .psql_scripts import read_script
from .statements import ManyStatements, Statement, distinct_traits, without

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from collections.abc import Set as AbstractSet

    from ...pgparse.parse import RawStatement
    from ...pgparse.tree import Node
    from .backfill import Backfill
    from .migration import Migration
    from .psql_scripts import CopyData

GRAMMAR_VERSION = 18
"""The PostgreSQL version of the parser's grammar."""

_WORDS = late_pattern(r"\s+")
_TEMPORARY = late_pattern("temp", re.IGNORECASE)
_PREPARES = late_pattern("prepare", re.IGNORECASE)
_CREATING = frozenset({"create_stmt", "index_stmt"})
_REFERENCES = late_pattern("references", re.IGNORECASE)
_DEALLOCATES = late_pattern("deallocate", re.IGNORECASE)
_LONGEST_MESSAGE = 500
_LONG_CHARACTERS = 2 * PIECE_CHARACTERS
_NO_QUERIES: frozenset[int] = frozenset()
_LONGEST_QUOTE = 60
_MISPLACED = "the line `-- pgdbm:{}` counts only above the first statement"
_NO_VERIFICATION = Refusal(
    "the statements of a file with `-- pgdbm:verify`, and what follows that line in a backfill, are queries",
    "Write them as SELECT.",
)


@dataclass(repr=False)
class ParsedMigration:
    """A valid file: its text as it will be sent, and its statements.

    ``backfill``: how its first statement runs in batches. ``queries``: the numbers of the statements that verify: they
    must return no row. ``modes`` are those of the file's transaction, such as ``ISOLATION LEVEL SERIALIZABLE``.
    """

    migration: Migration
    rendered: Rendered
    statements: Sequence[Statement]
    transactional: bool
    backfill: Backfill | None = None
    queries: frozenset[int] = frozenset()
    modes: str = ""

    @property
    def filename(self) -> str:
        return self.migration.filename

    @cached_property
    def batchable(self) -> bool:
        """Whether executing the file twice costs so little that it can share a message with others.

        A failure in such a message is located by running the file again, statement by statement.
        """
        if not self.transactional or self.modes:
            return False
        tables = [one.batchable_on for one in self.distinct_traits if not one.batchable]
        if not tables:
            return True
        created = {name for one in self.distinct_traits for name in one.creates}
        return created.issuperset(tables)

    @property
    def locks_only_new_tables(self) -> bool:
        """Whether a batchable file locks no tables but those that it creates, so that it has nothing to wait for."""
        creates = all(one.kind in _CREATING and one.touches is not None for one in self.distinct_traits)
        return creates and _REFERENCES.search(self.rendered.text) is None

    @cached_property
    def changes_session(self) -> bool:
        """Whether the file may leave settings, temporary objects, prepared statements or cursors in the session."""
        return any(one.changes_session for one in self.distinct_traits) or bool(_TEMPORARY.search(self.rendered.text))

    @cached_property
    def may_prepare(self) -> bool:
        """Whether the file may leave prepared statements in the session."""
        return _PREPARES.search(self.rendered.text) is not None

    @cached_property
    def may_deallocate(self) -> bool:
        """Whether the file may remove prepared statements from the session."""
        return _DEALLOCATES.search(self.rendered.text) is not None

    @cached_property
    def distinct_traits(self) -> Collection[Traits]:
        """The traits of the statements; in a long file, each distinct one once."""
        return distinct_traits(self.statements)

    def text_of(self, statement: Statement) -> str:
        return self.rendered.text[statement.start : statement.end]

    @property
    def parsable_text(self) -> str:
        """The text in a form that an SQL parser accepts, with the same offsets."""
        if self.backfill is None:
            return self.rendered.text
        from .backfill import with_parameters  # imported lazily: few files are one

        return with_parameters(self.rendered.text)

    def text_without_rows(self, statement: Statement) -> str:
        """The text of ``statement``; that of a backfill has bounds that contain no row."""
        text = self.text_of(statement)
        if self.backfill is None or statement.number > 1:
            return text
        return self.backfill.without_rows(text, statement.start)

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column in the file, from 1, of ``offset`` in the rendered text."""
        return self.rendered.position(offset)


class ParsedFile(NamedTuple):
    """A parsed file with its parse trees.

    The trees take about sixteen times the memory of the text: extract what you need, then release them. The
    trees of a long file are not kept: it is parsed again, piece by piece, for each iteration.
    """

    migration: ParsedMigration
    trees: Iterable[Node | None]
    """One per statement; None if the syntax is newer than the grammar, or nests too deeply to be decoded."""
    shifts: Iterable[int]
    """One per tree: what to add to its locations, to get offsets in the rendered text, in bytes."""


def parse(migration: Migration, schema: str | None, server_version: int = GRAMMAR_VERSION) -> ParsedMigration:
    """Render ``migration`` for ``schema``, split it into statements and check that it can run.

    ``server_version`` is PostgreSQL's major version. If the server is newer than the grammar, a syntax error is left
    to the server.

    Raises:
        MigrationFileError: with line and column, for an unknown placeholder, a syntax error, COPY from or to the
            client, and in a transactional file transaction control or a statement that cannot run in a transaction
            block.
    """
    return parse_file(migration, schema, server_version).migration


def parse_file(migration: Migration, schema: str | None, server_version: int = GRAMMAR_VERSION) -> ParsedFile:
    """:func:`parse`, with the parse trees. Raises the same."""
    script = read_script(migration.content, schema)
    try:
        rendered = render(script.sql, schema)
    except TemplateError as error:
        placeholder = _shortened(error.placeholder, 2 * _LONGEST_QUOTE)
        message = f"unknown placeholder {placeholder}: {_shortened(error.reason)}"
        _refuse(migration, error.line, error.column, message)
    if migration.is_backfill:
        return _parse_backfill(migration, rendered, server_version)
    split = _split(migration, rendered, server_version)
    if script.copies:
        split = split._replace(statements=_with_copy_data(split.statements, script.copies))
    return checked(migration, rendered, split)


def _parse_backfill(migration: Migration, rendered: Rendered, server_version: int) -> ParsedFile:
    from .backfill import BackfillError, complete, header_of, with_parameters  # imported lazily, as above

    split = Split((), [], ())
    try:
        backfill = header_of(migration, rendered.schema)
        assert backfill is not None
        # The parser does not accept $from and $to.
        parameters = replace(rendered, text=with_parameters(rendered.text))
        split = _split(migration, parameters, server_version)
        backfill = complete(backfill, migration.filename, rendered.text, split.statements, list(split.trees))
    except BackfillError as error:
        first = split.statements[0].start if split.statements else None
        offset = error.offset or (0 if first is None else rendered.source_offset(first))
        _refuse(migration, *line_and_column(migration.content, offset), str(error))
    file = checked(migration, rendered, split)
    parsed = replace(file.migration, backfill=backfill)
    for statement in split.statements[1:]:
        if statement.number not in parsed.queries:
            refuse(parsed, statement, Refusal("a backfill has one statement", "Write a file for each."))
    return file._replace(migration=parsed)


def _verifying(migration: Migration, rendered: Rendered, statements: Sequence[Statement]) -> frozenset[int]:
    """The numbers of the statements that must return no row."""
    if migration.verifies:
        return frozenset(one.number for one in statements)
    if not migration.is_backfill:
        return frozenset()
    lines = verify_lines(migration.content)
    return frozenset(
        one.number for one in statements if lines and rendered.source_offset(one.start) > lines[0] and one.number > 1
    )


def _with_copy_data(statements: Iterable[Statement], copies: Iterable[CopyData]) -> tuple[Statement, ...]:
    remaining = iter(copies)
    return tuple(
        one._replace(copy_data=next(remaining, None)) if one.traits.copies_from_client else one for one in statements
    )


class Split(NamedTuple):
    """The statements of a file, with trees and shifts as in :class:`ParsedFile`."""

    statements: Sequence[Statement]
    trees: list[Node | None] | PieceTrees
    shifts: Sequence[int]

    def without(self, indexes: AbstractSet[int]) -> Split:
        """The same without the statements at ``indexes``."""
        trees = self.trees
        if isinstance(trees, PieceTrees):
            trees = trees.without(indexes)
        else:
            trees = [tree for index, tree in enumerate(trees) if index not in indexes]
        shifts = [shift for index, shift in enumerate(self.shifts) if index not in indexes]
        return Split(without(self.statements, indexes), trees, shifts)


def checked(migration: Migration, rendered: Rendered, split: Split) -> ParsedFile:
    """``migration`` with its statements. Raises MigrationFileError for a statement that cannot run in the file."""
    has_directives = may_have_directives(migration.content)
    transactional = not (has_directives and migration.wants_no_transaction)
    foreign = foreign_format(migration.filename, migration.content)
    if foreign is not None:
        _refuse(migration, *line_and_column(migration.content, foreign[0]), *foreign[1])
    moved = misplaced(migration.content) if has_directives else None
    if moved is not None and (transactional or moved.name != NO_TRANSACTION):
        line, column = line_and_column(migration.content, moved.start)
        _refuse(migration, line, column, _MISPLACED.format(moved.name), "Move it there.")
    is_backfill = has_directives and migration.is_backfill
    modes = ""
    if transactional and any(one.controls_transaction for one in distinct_traits(split.statements)):
        rendered, split, transactional, modes = _own_transactions(migration, rendered, split, is_backfill=is_backfill)
    queries = _verifying(migration, rendered, split.statements) if has_directives else _NO_QUERIES
    parsed = ParsedMigration(migration, rendered, split.statements, transactional, queries=queries, modes=modes)
    distinct = split.statements.distinct_traits if isinstance(split.statements, ManyStatements) else None
    if distinct is not None and not queries and not any(one.refusal(transactional) for one in distinct):
        return ParsedFile(parsed, split.trees, split.shifts)
    for statement in split.statements:
        if queries and statement.number in queries and statement.traits.kind != "select_stmt":
            refuse(parsed, statement, _NO_VERIFICATION)
        refusal = statement.traits.refusal(transactional, statement.copy_data is not None)
        if refusal is not None:
            refuse(parsed, statement, refusal)
    return ParsedFile(parsed, split.trees, split.shifts)


def _own_transactions(
    migration: Migration, rendered: Rendered, split: Split, *, is_backfill: bool
) -> tuple[Rendered, Split, bool, str]:
    """(text, statements, whether the engine begins and commits, modes of the transaction) of a file that has BEGIN,
    COMMIT or the like.

    Where the engine can begin and commit instead, they are removed from the text and from the statements.
    """
    from .own_transaction import blanked, own_blocks, own_transaction  # imported lazily: few files have their own

    own = None if is_backfill else own_transaction(rendered, split.statements)
    if own is not None:
        rendered = blanked(rendered, [split.statements[index] for index in own.indexes])
        return rendered, split.without(frozenset(own.indexes)), True, own.modes
    blocks = own_blocks(rendered, split.statements)
    if blocks is None:
        return rendered, split, True, ""
    if blocks.refused is not None:
        index, reason = blocks.refused
        refuse(ParsedMigration(migration, rendered, split.statements, False), split.statements[index], reason)
    return rendered, split, False, ""


def checked_row_changes(migration: Migration, rendered: Rendered, split: Split) -> ParsedFile:
    """:func:`checked` for a file without comments that only changes rows: only its name remains to be checked."""
    foreign = foreign_name(migration.filename)
    if foreign is not None:
        _refuse(migration, 1, 1, *foreign)
    return ParsedFile(ParsedMigration(migration, rendered, split.statements, True), split.trees, split.shifts)


def _split(migration: Migration, rendered: Rendered, server_version: int) -> Split:
    text = rendered.text
    if len(text) > _LONG_CHARACTERS and (split := _split_in_pieces(text)) is not None:
        return split
    try:
        found = parse_statements(text)
    except SQLSyntaxError as error:
        if server_version <= GRAMMAR_VERSION or isinstance(error, OutOfBoundsError):
            _refuse_syntax(migration, rendered, error.offset, error.message)
        found = parse_newer(text)
    statements = tuple(
        Statement(number, one.start, one.end, traits_in(one, text)) for number, one in enumerate(found, 1)
    )
    return Split(statements, [one.tree for one in found], [one.shift for one in found])


def _split_in_pieces(text: str) -> Split | None:
    """The statements of ``text``, parsed piece by piece; None if it has to be parsed as a whole."""
    statements, repetitions = ManyStatements(), Repetitions()
    pieces: list[tuple[int, int]] = []
    shifts = array("q")
    begin = 0
    try:
        for start, end in pieces_of(text):
            repeated = repetitions.find(text, start, end)
            if repeated is not None:
                for found in repeated:
                    statements.append(*found)
                    shifts.append(begin)
            else:
                for one in parse_piece(text, start, end):
                    statements.append(one.start, one.end, traits_in(one, text))
                    shifts.append(begin + one.shift)
            pieces.append((start, end))
            begin += size_in_bytes(text, start, end)
    except SQLParseError:
        return None
    return Split(statements, PieceTrees(text, pieces), shifts)


def traits_in(one: RawStatement, text: str) -> Traits:
    """The traits of the statement ``one`` of ``text``; without a parse tree, what its first words show."""
    if one.tree is not None:
        return traits_of(*statement_node(one.tree))
    from ...pgparse.first_words import traits_without_tree  # imported lazily: few statements are newer than the parser

    return traits_without_tree(text[one.start : one.end])


def _refuse_syntax(migration: Migration, rendered: Rendered, offset: int, message: str) -> NoReturn:
    from .syntax_hints import syntax_hint  # imported lazily: few files have an error

    line, column = rendered.position(offset)
    # The message may quote the entire rest of the file.
    _refuse(migration, line, column, _shortened(message), syntax_hint(rendered.text, offset))


def _shortened(text: str, longest: int = _LONGEST_MESSAGE) -> str:
    return text if len(text) <= longest else f"{text[:longest]}…"


def _refuse(migration: Migration, line: int, column: int, message: str, hint: str | None = None) -> NoReturn:
    raise MigrationFileError(
        f"{migration.filename}:{line}:{column}: {message}", migration.filename, line=line, column=column, hint=hint
    )


def refuse(parsed: ParsedMigration, statement: Statement, refusal: Refusal) -> NoReturn:
    """Raise MigrationFileError for ``statement``."""
    line, column = parsed.position(statement.start)
    shown = _shortened(_WORDS.sub(" ", parsed.text_of(statement)[: 10 * _LONGEST_QUOTE]), _LONGEST_QUOTE)
    message = f"statement {statement.number} ({shown}): {refusal.reason}"
    _refuse(parsed.migration, line, column, message, refusal.hint)
