"""A file becomes statements, with PostgreSQL's own parser.

Pure: no database. Placeholders are rendered first; every position that is reported is one in the file as its author
wrote it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from ..core.grammar import TreeTooDeepError, parse_tree, too_deep_a_comment, without_comments
from ..core.templating import Rendered, TemplateError, render
from ..errors import MigrationFileError
from . import statements

if TYPE_CHECKING:
    from .files import Migration

GRAMMAR_VERSION = 18
"""The PostgreSQL version whose grammar the parser has."""

_WORDS = re.compile(r"\s+")
_LONGEST_MESSAGE = 500


class Statement(NamedTuple):
    """One statement of a file. ``start`` and ``end`` are offsets, in characters, in the rendered text."""

    number: int
    start: int
    end: int
    traits: statements.Traits


@dataclass(frozen=True)
class ParsedMigration:
    """A file that may run: its text as it will be sent, and the statements in it."""

    migration: Migration
    rendered: Rendered
    statements: tuple[Statement, ...]
    transactional: bool

    @property
    def filename(self) -> str:
        return self.migration.filename

    @cached_property
    def cheap(self) -> bool:
        """Whether running it twice costs next to nothing, so that it may travel in one message with others.

        A failure in such a message is located by running the file again, statement by statement.
        """
        made = {name for statement in self.statements for name in statement.traits.creates}
        return self.transactional and all(
            statement.traits.cheap or (statement.traits.cheap_on is not None and statement.traits.cheap_on in made)
            for statement in self.statements
        )

    @property
    def changes_session(self) -> bool:
        """Whether settings of the session may outlive the file."""
        return any(statement.traits.changes_session for statement in self.statements)

    def text_of(self, statement: Statement) -> str:
        return self.rendered.text[statement.start : statement.end]

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column, from 1, in the file for ``offset`` in the rendered text."""
        return self.rendered.position(offset)


def parse(migration: Migration, schema: str | None, server_version: int = GRAMMAR_VERSION) -> ParsedMigration:
    """Render ``migration`` for ``schema``, split it into statements and check that it may run as it is.

    ``server_version`` is PostgreSQL's major version: what the parser refuses is left to a server that is newer than
    the grammar.

    Raises:
        MigrationFileError: with line and column, for an unknown placeholder, a syntax error, transaction control or a
            statement that cannot run in a transaction in a transactional file, and COPY from or to the client.
    """
    try:
        rendered = render(migration.content, schema)
    except TemplateError as error:
        raise MigrationFileError(
            f"{migration.filename}:{error.line}:{error.column}: unknown placeholder {error.placeholder}: "
            f"{error.reason}",
            migration.filename,
            line=error.line,
            column=error.column,
            hint=error.reason,
        ) from error
    return checked(migration, rendered, _split(migration, rendered, server_version))


def checked(migration: Migration, rendered: Rendered, found: tuple[Statement, ...]) -> ParsedMigration:
    """``migration`` with the statements that were found in it; raises MigrationFileError for one that may not run."""
    transactional = not migration.wants_no_transaction
    parsed = ParsedMigration(migration, rendered, found, transactional)
    for statement in found:
        reason = statement.traits.refusal(transactional)
        if reason is not None:
            refuse(parsed, statement, reason)
    return parsed


def _split(migration: Migration, rendered: Rendered, server_version: int) -> tuple[Statement, ...]:
    import postgast  # here, since it takes a quarter of a second and most starts have nothing pending

    text = rendered.text
    too_deep = too_deep_a_comment(text)
    if too_deep is not None:
        _refuse_syntax(migration, rendered, too_deep, "comments are nested more than a thousand deep")
    encoded = text.encode()
    try:
        raw_statements = parse_tree(text)
    except TreeTooDeepError:
        return _split_deep(text)
    except postgast.PgQueryError as error:
        if server_version > GRAMMAR_VERSION:
            # A newer server may know what our grammar does not: it gets the whole text, and decides.
            return (Statement(1, 0, len(text), statements.UNKNOWN),)
        # Of an error, the parser counts characters; of statements, bytes.
        _refuse_syntax(migration, rendered, max(error.cursorpos - 1, 0), error.message)
    ascii_only = len(encoded) == len(text)
    found = []
    for number, raw in enumerate(raw_statements, 1):
        start = raw.stmt_location
        end = start + raw.stmt_len if raw.stmt_len else len(encoded)
        if not ascii_only:
            start, end = len(encoded[:start].decode()), len(encoded[:end].decode())
        found.append(Statement(number, start, end, traits_in(raw.stmt)))
    return tuple(found)


def traits_in(tree: Any) -> statements.Traits:
    """What matters of the statement whose node of the parse tree ``tree`` is."""
    kind: str = tree.WhichOneof("node")
    return statements.traits_of(kind, getattr(tree, kind))


def _split_deep(text: str) -> tuple[Statement, ...]:
    """The statements of a text of which one nests too deeply: that one stays unknown, and the server decides."""
    import postgast

    encoded, bare = text.encode(), without_comments(text) or text
    found: list[Statement] = []
    end = 0
    for number, part in enumerate(postgast.split(bare), 1):
        start = bare.encode().index(part.encode(), end)
        end = start + len(part.encode())
        try:
            tree = parse_tree(part)[0].stmt
        except TreeTooDeepError:
            traits = statements.UNKNOWN
        else:
            traits = traits_in(tree)
        found.append(Statement(number, len(encoded[:start].decode()), len(encoded[:end].decode()), traits))
    return tuple(found)


def _refuse_syntax(migration: Migration, rendered: Rendered, offset: int, message: str) -> NoReturn:
    line, column = rendered.position(offset)
    # It may quote the whole rest of the file.
    message = message if len(message) <= _LONGEST_MESSAGE else f"{message[:_LONGEST_MESSAGE]}…"
    hint: str | None = None
    if rendered.text[offset : offset + 1] == "\\":
        hint = "Commands of psql, such as \\set or \\i, are not SQL: take them out."
    raise MigrationFileError(
        f"{migration.filename}:{line}:{column}: {message}" + (f". {hint}" if hint else ""),
        migration.filename,
        line=line,
        column=column,
        hint=hint,
    )


def refuse(parsed: ParsedMigration, statement: Statement, reason: str) -> NoReturn:
    line, column = parsed.position(statement.start)
    shown = _WORDS.sub(" ", parsed.text_of(statement))[:60]
    raise MigrationFileError(
        f"{parsed.filename}:{line}:{column}: statement {statement.number} ({shown}): {reason}",
        parsed.filename,
        line=line,
        column=column,
        hint=reason,
    )
