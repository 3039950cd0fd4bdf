"""Parses many files in few calls: for small files, most of the parser's time is spent per call.

Pure: no database.
"""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from ...core.templating import Rendered, TemplateError, render
from ...patterns import late_pattern
from ...pgparse.limits import SHORT_CHARACTERS
from ...pgparse.parse import SQLParseError, parse_joined
from ...pgparse.pieces import PieceTrees
from ...pgparse.repetitions import Repetitions
from ...pgparse.threads import parse_ahead
from ...pgparse.traits import ROW_CHANGES, traits_of
from .directives import may_have_directives
from .parser import GRAMMAR_VERSION, ParsedFile, ParsedMigration, Split, checked, checked_row_changes, parse_file
from .psql_scripts import may_be_script
from .statements import Statement

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future

    from ...pgparse.repetitions import Found
    from ...pgparse.tree import Node
    from .migration import Migration

    _Assigned = tuple[list[Statement], list[Node | None] | PieceTrees, Sequence[int]]

_MAX_FILES = 64
_MAX_CHARACTERS = 64 * 1024
_BATCHES_AHEAD = 2
_CHANGES_ROWS = late_pattern(r"\s*(?:insert|update|delete)\b", re.IGNORECASE)
# The newline ends a comment on a file's last line; the semicolon ends its last statement.
_SEPARATOR = "\n;\n"
_GAP = len(_SEPARATOR)


def parse_all(
    migrations: Sequence[Migration], schema: str | None, server_version: int = GRAMMAR_VERSION
) -> list[ParsedMigration]:
    """Parse ``migrations``; raises for the first one that cannot run, before any has run.

    Raises:
        MigrationFileError: as :func:`~pgdbm.migrations.sources.parser.parse` does.
    """
    return [file.migration for file in parse_each(migrations, schema, server_version)]


def parse_each(
    migrations: Sequence[Migration], schema: str | None, server_version: int = GRAMMAR_VERSION
) -> Iterator[ParsedFile]:
    """Parse ``migrations`` one after the other, with their parse trees. Raises the same as :func:`parse_all`."""
    batches = list(in_batches(migrations))
    if len(batches) == 1:
        batch = Batch(batches[0], schema)
        yield from batch.files(batch.parse(), server_version)
        return
    # The parser releases the GIL, so another thread parses the next batches while this one does the rest.
    ahead: deque[tuple[Batch, Future[Parsed | None]]] = deque()
    repetitions = Repetitions()
    try:
        for grouped in batches:
            batch = Batch(grouped, schema)
            repeated = batch.find(repetitions)
            if repeated is not None:
                while ahead:
                    earlier, parsed = ahead.popleft()
                    yield from earlier.files(parsed.result(), server_version)
                yield from batch.files(repeated, server_version)
                continue
            ahead.append((batch, parse_ahead(batch.parse)))
            if len(ahead) > _BATCHES_AHEAD:
                batch, parsed = ahead.popleft()
                yield from batch.files(parsed.result(), server_version)
        while ahead:
            batch, parsed = ahead.popleft()
            yield from batch.files(parsed.result(), server_version)
    finally:
        for _, parsed in ahead:
            parsed.cancel()


def in_batches(migrations: Sequence[Migration]) -> Iterator[list[Migration]]:
    """``migrations`` in order, in groups that can be parsed as one text.

    A file is a group of its own if it has block comments, which may hide its end, or characters outside ASCII, whose
    offsets in bytes differ from those in characters, if psql would process parts of it, if it is a backfill, or if it
    is long.
    """
    batch: list[Migration] = []
    length = 0
    for migration in migrations:
        content = migration.content
        alone = "/*" in content or not content.isascii() or len(content) > SHORT_CHARACTERS or may_be_script(content)
        alone = alone or (may_have_directives(content) and migration.is_backfill)
        if batch and (alone or len(batch) == _MAX_FILES or length > _MAX_CHARACTERS):
            yield batch
            batch, length = [], 0
        batch.append(migration)
        length += len(migration.content)
        if alone:
            yield batch
            batch, length = [], 0
    if batch:
        yield batch


class Parsed(NamedTuple):
    """The statements of a batch: as the parser found them, or only with their traits."""

    trees: Sequence[Node] = ()
    repeated: Sequence[Found] = ()


class Batch:
    """Files that are parsed as one text. If that fails, each file is parsed separately."""

    def __init__(self, migrations: Sequence[Migration], schema: str | None) -> None:
        self._migrations = migrations
        self._schema = schema
        self._rendered: list[Rendered] = []
        self._text: str | None = None
        if len(migrations) == 1:
            return
        try:
            self._rendered = [render(migration.content, schema) for migration in migrations]
        except TemplateError:
            return
        self._text = _SEPARATOR.join([one.text for one in self._rendered])

    def find(self, repetitions: Repetitions) -> Parsed | None:
        """The statements of all files, without the parser's thread, if most of them repeat; None otherwise."""
        if self._text is None or not _CHANGES_ROWS.match(self._rendered[-1].text):
            return None
        repeated = repetitions.find(self._text, 0, len(self._text))
        return None if repeated is None else Parsed(repeated=repeated)

    def parse(self) -> Parsed | None:
        """The statements of all files as one text; None if each file has to be parsed separately."""
        if self._text is None:
            return None
        try:
            return Parsed(trees=parse_joined(self._text))
        except SQLParseError:
            return None

    def files(self, parsed: Parsed | None, server_version: int) -> Iterator[ParsedFile]:
        """The files, given what :meth:`parse` returned."""
        assigned: Sequence[_Assigned] | None = None
        check = checked
        if parsed is not None and parsed.repeated:
            assigned = self._assign_repeated(parsed.repeated)
            if all(one.traits.kind in ROW_CHANGES for one in parsed.repeated):
                # A text with repeated statements has no comment.
                check = checked_row_changes
        elif parsed is not None:
            assigned = self._assign(parsed.trees)
        if assigned is None:
            for migration in self._migrations:
                yield parse_file(migration, self._schema, server_version)
            return
        for migration, rendered, (statements, trees, shifts) in zip(
            self._migrations, self._rendered, assigned, strict=True
        ):
            yield check(migration, rendered, Split(tuple(statements), trees, shifts))

    def _assign_repeated(self, found: Sequence[Found]) -> list[_Assigned]:
        """The statements of each file. None extends beyond the end of a file."""
        assigned: list[_Assigned] = []
        begin = position = 0
        last = len(found)
        for rendered in self._rendered:
            text = rendered.text
            length = len(text)
            end = begin + length
            statements: list[Statement] = []
            while position < last:
                start, stop, traits = found[position]
                if start >= end:
                    break
                statements.append(
                    Statement(len(statements) + 1, start - begin, (stop if stop < end else end) - begin, traits)
                )
                position += 1
            assigned.append((statements, PieceTrees(text, ((0, length),)), [0] * len(statements)))
            begin = end + _GAP
        return assigned

    def _assign(self, raw_statements: Sequence[Node]) -> Sequence[_Assigned] | None:
        """The statements of each file; None if a statement crosses the end of a file.

        Something that one file leaves open, such as a string, continues in the next file: a statement then begins in
        one file and ends in another.
        """
        found: list[tuple[list[Statement], list[Node | None]]] = [([], []) for _ in self._migrations]
        index, begin = 0, 0
        begins = [begin]
        length = len(self._rendered[0].text)
        for raw in raw_statements:
            start = raw.stmt_location - begin
            while start >= length:
                begin += length + _GAP
                start -= length + _GAP
                index += 1
                length = len(self._rendered[index].text)
                begins.append(begin)
            size = raw.stmt_len
            end = start + size if size else len(self._text or "") - begin
            if end > length:
                # A last statement without a semicolon ends at the semicolon of the separator.
                if end > length + _SEPARATOR.index(";"):
                    return None
                end = length
            if start < 0:
                return None
            tree = raw.stmt
            statements, trees = found[index]
            kind = tree.WhichOneof("node")
            statements.append(Statement(len(statements) + 1, start, end, traits_of(kind, getattr(tree, kind))))
            trees.append(tree)
        # Files without a statement have no entry at the end of ``begins``.
        begins += [begin] * (len(found) - len(begins))
        return [(one[0], one[1], [-begin] * len(one[0])) for one, begin in zip(found, begins, strict=True)]
