"""Many files are parsed as a few texts, and the statements given back to the files that they are of.

Most of the parser's time goes into each call rather than into what a file holds. Pure: no database.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ..core.grammar import TreeTooDeepError, parse_tree
from ..core.templating import Rendered, TemplateError, render
from .parser import GRAMMAR_VERSION, ParsedMigration, Statement, checked, parse, traits_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future

    from .files import Migration

_MOST_FILES = 64
_MOST_CHARACTERS = 64 * 1024
_BATCHES_AHEAD = 2
# The newline ends a comment in a file's last line, the semicolon its last statement.
_BETWEEN_FILES = "\n;\n"


def parse_all(
    migrations: Sequence[Migration], schema: str | None, server_version: int = GRAMMAR_VERSION
) -> list[ParsedMigration]:
    """Every one of ``migrations``, parsed; raises at the first that may not run, before anything has run.

    Raises:
        MigrationFileError: as :func:`~pgdbm.migrations.parser.parse` does.
    """
    parsed: list[ParsedMigration] = []

    def take(batch: Batch, statements: Sequence[Any] | None) -> None:
        together = batch.shared_out(statements) if statements is not None else None
        parsed.extend(together or [parse(migration, schema, server_version) for migration in batch.migrations])

    batches = list(in_batches(migrations))
    if len(batches) == 1:
        batch = Batch(batches[0], schema)
        take(batch, batch.statements())
        return parsed
    # PostgreSQL's parser lets other threads run: it reads the next batches while this thread does all the rest.
    with ThreadPoolExecutor(1, "pgdbm-parser") as reader:
        ahead: deque[tuple[Batch, Future[Sequence[Any] | None]]] = deque()
        for files in batches:
            batch = Batch(files, schema)
            ahead.append((batch, reader.submit(batch.statements)))
            if len(ahead) > _BATCHES_AHEAD:
                batch, statements = ahead.popleft()
                take(batch, statements.result())
        for batch, statements in ahead:
            take(batch, statements.result())
    return parsed


def in_batches(migrations: Sequence[Migration]) -> Iterator[list[Migration]]:
    """``migrations`` in order, in groups that may be parsed in one go.

    Not together with others goes what has comments that may hold the end of a file, or whose offsets in bytes are not
    those in characters.
    """
    batch: list[Migration] = []
    length = 0
    for migration in migrations:
        alone = "/*" in migration.content or not migration.content.isascii()
        if batch and (alone or len(batch) == _MOST_FILES or length > _MOST_CHARACTERS):
            yield batch
            batch, length = [], 0
        batch.append(migration)
        length += len(migration.content)
        if alone:
            yield batch
            batch, length = [], 0
    if batch:
        yield batch


class Batch:
    """Files that are parsed as one text. Whatever is wrong in one of them, only parsing each by itself can tell."""

    def __init__(self, migrations: Sequence[Migration], schema: str | None) -> None:
        self.migrations = migrations
        self._rendered: list[Rendered] = []
        self._text: str | None = None
        if len(migrations) == 1:
            return
        try:
            self._rendered = [render(migration.content, schema) for migration in migrations]
        except TemplateError:
            return
        self._text = _BETWEEN_FILES.join(one.text for one in self._rendered)

    def statements(self) -> Sequence[Any] | None:
        """The statements of all files; None where each is to be parsed by itself."""
        import postgast  # here, since it takes a quarter of a second and most starts have nothing pending

        if self._text is None:
            return None
        try:
            return parse_tree(self._text)
        except (TreeTooDeepError, postgast.PgQueryError):
            return None

    def shared_out(self, raw_statements: Sequence[Any]) -> list[ParsedMigration] | None:
        """Each file with its own out of ``raw_statements``; None where each is to be parsed by itself.

        What one file leaves open, a string say, goes on in the next, which shows: a statement would then begin in one
        and end in another.
        """
        found: list[list[Statement]] = [[] for _ in self.migrations]
        index, begin = 0, 0
        length = len(self._rendered[0].text)
        for raw in raw_statements:
            start = raw.stmt_location - begin
            while start >= length:
                begin += length + len(_BETWEEN_FILES)
                start -= length + len(_BETWEEN_FILES)
                index += 1
                length = len(self._rendered[index].text)
            size = raw.stmt_len
            end = start + size if size else len(self._text or "") - begin
            if end > length:
                # Up to the semicolon between the files, where the last statement has none of its own.
                if end > length + _BETWEEN_FILES.index(";"):
                    return None
                end = length
            if start < 0:
                return None
            of_file = found[index]
            of_file.append(Statement(len(of_file) + 1, start, end, traits_in(raw.stmt)))
        each = zip(self.migrations, self._rendered, found, strict=True)
        return [checked(migration, rendered, tuple(of_file)) for migration, rendered, of_file in each]
