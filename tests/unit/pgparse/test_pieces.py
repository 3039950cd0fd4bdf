"""A long text that is parsed in pieces has the statements that it has as a whole, or is not parsed in pieces."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgdbm.migrations.sources.migration import read_migration
from pgdbm.migrations.sources.parser import ParsedFile, parse, parse_file
from pgdbm.pgparse.parse import SQLParseError, parse_statements
from pgdbm.pgparse.pieces import PIECE_CHARACTERS, parse_piece, pieces_of

# Each has something in it that looks like the end of a statement, or is one.
_STATEMENTS = (
    "INSERT INTO t VALUES (1, 'a;\nb');",
    "INSERT INTO t VALUES (1, 'ö'); -- a comment;",
    "SELECT 1 -- ;",
    "FROM t;",
    "SELECT $$ a;\nb; $$;",
    'SELECT 1 AS "a;\nb";',
    "/* a;\nb;\n*/ SELECT 2;",
    "CREATE SCHEMA s --;",
    "CREATE TABLE s.t (a int);",
    "CREATE RULE r AS ON INSERT TO t DO ALSO (SELECT 1;\nSELECT 2);",
    "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC\nSELECT 1;\nSELECT 2;\nEND;",
    ";;",
    "SELECT 3;\r",
    "SELECT E'it\\';\n';",
    "SELECT 4",
    ";   ",
)
_NOTE = "the note of this line, which is long, so that the statements of a long file are few; " * 10
_UPDATE = f"UPDATE t SET a = 1 WHERE id = 1234567890 AND note = '{_NOTE}';\n"
LONG = _UPDATE * (5 * PIECE_CHARACTERS // 2 // len(_UPDATE))
_DELETE = "DELETE FROM t WHERE id = 1234567890 AND note = 'the note of this line';\n"
LONG_OF_SHORT = _DELETE * (5 * PIECE_CHARACTERS // 2 // len(_DELETE))


def in_pieces(text: str, length: int) -> list[tuple[int, int]] | None:
    """The spans of the statements; None if ``text`` has to be parsed as a whole."""
    try:
        pieces = [parse_piece(text, start, end) for start, end in pieces_of(text, length)]
    except SQLParseError:
        return None
    return [(one.start, one.end) for piece in pieces for one in piece]


def as_a_whole(text: str) -> list[tuple[int, int]] | None:
    try:
        return [(one.start, one.end) for one in parse_statements(text)]
    except SQLParseError:
        return None


@settings(max_examples=300)
@given(st.lists(st.sampled_from(_STATEMENTS), max_size=8), st.integers(1, 60))
def test_pieces_have_the_statements_of_the_whole(statements: list[str], length: int) -> None:
    text = "\n".join(statements)
    found = in_pieces(text, length)
    assert found is None or found == as_a_whole(text)


@given(st.text(alphabet="a1;\n\r'\"$-/* ()é", max_size=60), st.integers(1, 20))
def test_pieces_of_any_text_cover_it(text: str, length: int) -> None:
    assert "".join(text[start:end] for start, end in pieces_of(text, length)) == text


def test_a_schema_with_elements_behind_a_comment_is_one_statement() -> None:
    text = "CREATE SCHEMA s --;\nCREATE TABLE t (a int);\nSELECT 1;\n"
    assert in_pieces(text, 1) == as_a_whole(text) == [(0, 42), (44, 52)]


def parsed(text: str) -> ParsedFile:
    return parse_file(read_migration("1.sql", text.encode()), "app")


@pytest.mark.parametrize(
    "middle", ["", "SELECT 'a;\n';\n", "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1;\nSELECT 2;\nEND;\n"]
)
def test_a_long_file_has_its_statements_and_their_trees(middle: str) -> None:
    text = LONG + middle + LONG
    file = parsed(text)
    spans = [(one.start, one.end) for one in file.migration.statements]
    assert spans == as_a_whole(text)
    assert [one.number for one in file.migration.statements] == list(range(1, len(spans) + 1))
    kinds = [tree.WhichOneof("node") for tree in file.trees if tree is not None]
    assert kinds == [one.traits.kind for one in file.migration.statements]
    # They can be iterated again.
    assert sum(1 for _ in file.trees) == len(spans)


def test_a_file_that_cannot_be_cut_is_parsed_as_a_whole() -> None:
    text = "SELECT $$\n" + LONG + "$$;\nSELECT 1;\n" + LONG
    file = parsed(text)
    assert [(one.start, one.end) for one in file.migration.statements] == as_a_whole(text)
    assert sum(1 for _ in file.trees) == len(file.migration.statements)


def test_the_trees_of_a_long_file_are_not_in_memory_together() -> None:
    migration = read_migration("1.sql", LONG_OF_SHORT.encode())
    # The parser's own memory is not Python's, but each tree is an object that is kept alive by the list of them.
    tracemalloc.start()
    try:
        statements = parse(migration, "app").statements
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len({id(one.traits) for one in statements}) == 1
    assert peak < 6 * len(LONG_OF_SHORT)


def test_the_statements_of_a_long_file_are_a_sequence() -> None:
    statements = parsed(LONG).migration.statements
    assert [statements[number] for number in (0, -1)] == [next(iter(statements)), list(statements)[-1]]
    assert list(statements[2:5]) == list(statements)[2:5]
    assert [one.number for one in statements[-2:]] == [len(statements) - 1, len(statements)]
    with pytest.raises(IndexError):
        statements[len(statements)]
