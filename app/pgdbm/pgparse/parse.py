"""PostgreSQL's own parser, from libpg_query, with workarounds for its defects.

Most programs never parse anything, so the parser is loaded lazily: see :mod:`.postgast_binding`.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from .lexer import comments, statement_spans, without_comments
from .limits import MAX_CHAIN, SAFE_CHARACTERS, breach_of, count_chain, has_operator_run, longest_chain
from .offsets import CharacterOffsets
from .postgast_binding import parser
from .threads import call_parser

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .tree import Node

# Trees with more levels are not decoded. Detecting that takes time quadratic in the number of levels.
_MAX_DECODED_CHAIN = 500
# In characters. A shorter VALUES list has a small tree.
_WORTH_SHORTENING = 64 * 1024


class SQLParseError(Exception):
    """A text cannot be parsed into a tree."""


class SQLSyntaxError(SQLParseError):
    """Not valid SQL. ``offset`` counts characters from 0."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset


class OutOfBoundsError(SQLSyntaxError):
    """SQL that must not be passed to the parser, even if the server accepts it: see :mod:`.limits`."""


class TreeTooDeepError(SQLParseError):
    """Valid SQL that nests too deeply for its tree to be decoded: some fifty operators or UNIONs are enough."""


class RawStatement(NamedTuple):
    """``start`` and ``end`` count characters; ``tree`` is libpg_query's Node, None where it nests too deeply.

    ``shift``: what to add to a location in the tree, to get its offset in the text, in bytes.
    """

    start: int
    end: int
    tree: Node | None
    shift: int = 0


def parse_tree(sql: str) -> Sequence[Node]:
    """The statements in ``sql``: libpg_query's RawStmt messages, with ``stmt_location`` and ``stmt_len`` in bytes.

    Raises:
        SQLSyntaxError, TreeTooDeepError: see the classes.
    """
    if _checked_chain(sql) > _MAX_DECODED_CHAIN:
        raise TreeTooDeepError
    return _parse(sql, without_comments(sql) if has_operator_run(sql) else sql)


def parse_joined(sql: str) -> Sequence[Node]:
    """:func:`parse_tree` for a text that was joined from texts of at most SHORT_CHARACTERS each.

    It must not have more than twice MAX_CHAIN characters in total.
    """
    return _parse(sql, sql)


def _checked_chain(sql: str) -> int:
    """The number of links in the longest chain in ``sql``, if there may be many.

    Raises:
        OutOfBoundsError: see the class.
    """
    breach = breach_of(sql)
    if breach is not None:
        raise OutOfBoundsError(breach.message, breach.offset)
    links, offset = longest_chain(sql)
    if links > MAX_CHAIN:
        raise OutOfBoundsError(f"a statement chains more than {MAX_CHAIN:,} operators, joins or UNIONs", offset)
    return links


def _parse(sql: str, bare: str) -> Sequence[Node]:
    """Parse ``bare``, which is ``sql`` or has spaces in place of its comments, one per byte."""
    parse, _, syntax_error, _ = parser()
    statements: Sequence[Node]
    try:
        try:
            statements = call_parser(parse, bare).stmts
        except syntax_error as error:
            # PostgreSQL takes a comment between words that belong together, as in NOT /* … */ IN.
            retried = without_comments(sql)
            if retried in (sql, bare):
                raise _syntax_error(error, sql, bare) from None
            try:
                statements = call_parser(parse, retried).stmts
            except syntax_error:
                raise _syntax_error(error, sql, bare) from None
    except _decode_error() as error:
        raise TreeTooDeepError from error
    return statements


def parse_statements(sql: str) -> list[RawStatement]:
    """The statements in ``sql``; one that nests too deeply has no tree, but the others keep theirs.

    The trees do not contain all rows of a long ``VALUES`` list: see :mod:`.long_values`.

    Raises:
        SQLSyntaxError: see the class.
    """
    if len(sql) < _WORTH_SHORTENING:
        return _parse_all(sql)
    from .long_values import without_rows  # imported lazily: few files are that long

    shortened = without_rows(sql)
    if shortened is None:
        return _parse_all(sql)
    try:
        found = _parse_all(shortened.sql)
    except SQLSyntaxError as error:
        raise type(error)(error.message, shortened.characters.original(error.offset)) from None
    for one in found:
        if one.tree is not None:
            shortened.restore(one.tree, one.shift)
    original = shortened.characters.original
    return [one._replace(start=original(one.start), end=original(one.end)) for one in found]


def _parse_all(sql: str) -> list[RawStatement]:
    try:
        trees = parse_tree(sql)
    except TreeTooDeepError:
        return _parse_each(sql)
    characters = CharacterOffsets(sql)
    found = []
    for raw in trees:
        start, length = raw.stmt_location, raw.stmt_len
        end = characters.of_byte(start + length) if length else len(sql)
        found.append(RawStatement(characters.of_byte(start), end, raw.stmt))
    return found


def parse_newer(sql: str) -> list[RawStatement]:
    """The statements in ``sql``, which has syntax that the grammar does not know; the statements with such syntax have
    no tree.

    Raises:
        OutOfBoundsError: see the class.
    """
    _checked_chain(sql)
    characters = CharacterOffsets(sql)
    found: list[RawStatement] = []
    for start, end in statement_spans(sql):
        shift = characters.to_byte(start)
        try:
            # The scanner may see one statement where the parser correctly sees several.
            pieces = parse_statements(sql[start:end])
        except SQLParseError:
            pieces = []
        found += [RawStatement(start + one.start, start + one.end, one.tree, shift + one.shift) for one in pieces] or [
            RawStatement(start, end, None, shift)
        ]
    return found


def _parse_each(sql: str) -> list[RawStatement]:
    """The statements of a text in which at least one nests too deeply."""
    searched = without_comments(sql).encode()
    spans = []
    end = 0
    for part in _split(searched.decode()):
        start = searched.index(part.encode(), end)
        end = start + len(part.encode())
        spans.append((start, end))
    characters = CharacterOffsets(sql)
    return [
        RawStatement(characters.of_byte(start), characters.of_byte(end), tree, shift)
        for (start, end), (tree, shift) in zip(spans, _trees_of(searched, spans), strict=True)
    ]


def _trees_of(text: bytes, spans: list[tuple[int, int]]) -> Iterator[tuple[Node | None, int]]:
    """The tree of each statement, and the shift of its locations.

    Statements that cannot be decoded together are halved until only one is left.
    """
    if len(spans) == 1 and spans[0][1] - spans[0][0] > SAFE_CHARACTERS:
        (start, end) = spans[0]
        if count_chain(text[start:end].decode()).links > _MAX_DECODED_CHAIN:
            yield None, start
            return
    joined = b";".join(text[start:end] for start, end in spans).decode()
    try:
        begin = 0
        for (start, end), raw in zip(spans, _parse(joined, joined), strict=True):
            yield raw.stmt, start - begin
            begin += end - start + 1
    except TreeTooDeepError:
        if len(spans) == 1:
            yield None, spans[0][0]
            return
        half = len(spans) // 2
        yield from _trees_of(text, spans[:half])
        yield from _trees_of(text, spans[half:])


def split(sql: str) -> list[str]:
    """The texts of the statements in ``sql``, without decoding their trees.

    Raises:
        SQLSyntaxError: see the class.
    """
    _checked_chain(sql)
    return _split(sql)


def _split(sql: str) -> list[str]:
    _, split_text, syntax_error, _ = parser()
    try:
        return list(call_parser(split_text, sql))
    except syntax_error as error:
        raise _syntax_error(error, sql, sql) from None


def line_comments(sql: str) -> list[tuple[int, str]]:
    """(offset, comment) of every ``--`` comment in ``sql``."""
    return [(token.start, sql[token.start : token.end]) for token in comments(sql) if sql.startswith("--", token.start)]


def _syntax_error(error: Any, sql: str, parsed: str) -> SQLSyntaxError:
    """``error`` of ``parsed``, which is ``sql`` or has spaces in place of its comments, one per byte."""
    offset = max(error.cursorpos - 1, 0)
    if parsed is not sql and not sql.isascii():
        offset = len(sql.encode()[: len(parsed[:offset].encode())].decode(errors="ignore"))
    return SQLSyntaxError(error.message, offset)


@cache
def _decode_error() -> type[Exception]:
    from google.protobuf.message import DecodeError

    found: type[Exception] = DecodeError
    return found
