"""The lexer, compared with libpg_query's scanner, and its limits."""

from __future__ import annotations

import random
import time

import postgast
import pytest

from pgdbm.pgparse.lexer import Token, comments, statement_spans, tokens, without_comments

PIECES = [
    *("'", "''", "E'", "e'", "N'", "U&'", "\\'", "a'", "_e'", "\\", '"', "$", "$a$", "$$", "b$", "a", "x", "é", "1"),
    *("--", "--x\n", "/*", "*/", "(", ")", ",", ";", "+", "-", "/", "*", "::", "\n", " ", " \n "),
]


def scanned_comments(sql: str) -> list[tuple[int, int]]:
    """The positions of comments in libpg_query, adjacent block comments as one. Raises if it cannot scan them."""
    encoded = sql.encode()
    found: list[tuple[int, int]] = []
    for token in postgast.scan(sql).tokens:
        if encoded[token.start : token.start + 2] not in (b"--", b"/*"):
            continue
        start, end = len(encoded[: token.start].decode()), len(encoded[: token.end].decode())
        touches = bool(found) and found[-1][1] == start and sql.startswith("/*", start)
        if touches and sql.startswith("/*", found[-1][0]):
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


def test_comments_are_where_postgresql_finds_them() -> None:
    compared = 0
    for seed in range(5_000):
        chooser = random.Random(seed)
        sql = "".join(chooser.choice(PIECES) for _ in range(chooser.randint(1, 12)))
        try:
            expected = scanned_comments(sql)
        except postgast.PgQueryError:
            continue
        compared += 1
        assert [(start, end) for _, start, end in comments(sql)] == expected, (seed, sql)
        assert [(start, end) for kind, start, end in tokens(sql) if kind == "comment"] == expected, (seed, sql)
    assert compared > 1_000


@pytest.mark.parametrize(
    ("sql", "kinds"),
    [
        ("SELECT 1.5e3", ["word", "number"]),
        ("a$b$c 'x''y' \"q\"", ["word", "string", "identifier"]),
        ("$tag$ ; $$ $tag$ x", ["string", "word"]),
        (r"E'\'' '\'", ["string", "string"]),
        ("a||b", ["word", "operator", "word"]),
        ("/* a /* b */ c */ x", ["comment", "word"]),
        ("'never", ["open"]),
        ('"never', ["open"]),
        ("$$never", ["open"]),
        ("/* /* never */", ["open"]),
    ],
)
def test_kinds(sql: str, kinds: list[str]) -> None:
    assert [token.kind for token in tokens(sql)] == kinds


def test_offsets_count_characters() -> None:
    assert list(tokens("é 'ü' x")) == [Token("word", 0, 1), Token("string", 2, 5), Token("word", 6, 7)]


def test_a_comment_becomes_as_many_spaces_as_it_has_bytes() -> None:
    assert without_comments("a--é\nb/* x */c '--'") == "a    \nb       c '--'"
    assert without_comments("no comment") == "no comment"


@pytest.mark.parametrize(
    "sql",
    [
        "é" * 500_000,
        "a$" * 250_000,
        "'" * 500_001,
        "$a" * 250_000,
        "E'\\" * 150_000,
        "/*" * 250_000,
        "-- " * 150_000,
        '"' * 500_001,
    ],
    ids=["word", "dollars", "quotes", "tags", "escapes", "comments", "lines", "identifiers"],
)
def test_time_is_linear(sql: str) -> None:
    started = time.process_time()
    assert len(list(tokens(sql))) <= len(sql)
    assert len(list(comments(sql))) <= len(sql)
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("sql", "statements"),
    [
        ("SELECT 1; SELECT ';' -- ;\n; ; SELECT 2", ["SELECT 1", "SELECT ';'", "SELECT 2"]),
        ("-- only a comment", []),
        ("CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2); SELECT 3", 2),
        ("CREATE FUNCTION f() BEGIN ATOMIC SELECT CASE WHEN a THEN 1 END; SELECT 2; END; SELECT 3", 2),
        ("BEGIN; SELECT 1; END; SELECT 2", 4),
        ("SELECT $$;$$, E'\\';'; SELECT 'open; SELECT 1", 2),
    ],
)
def test_statements_are_found_without_the_grammar(sql: str, statements: list[str] | int) -> None:
    found = [sql[start:end] for start, end in statement_spans(sql)]
    assert found == statements if isinstance(statements, list) else len(found) == statements
