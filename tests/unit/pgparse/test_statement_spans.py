"""The scanner cuts SQL where the parser does, in every SQL file of the repository and in mixtures of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgdbm.pgparse.lexer import statement_spans, without_comments
from pgdbm.pgparse.parse import SQLParseError, parse_newer, parse_statements

ROOT = Path(__file__).parents[3]
FOLDERS = ("app", "examples", "integrations", "migrations_repo", "tests")
TRICKY = (
    "SELECT $a$ ; $$ ; $a$, E'\\';', U&'\\0041;', 'it''s;', \"a;\"",
    "SELECT 1 /* ; /* ; */ ; */ -- ;\n + 2",
    "CREATE FUNCTION f(begin int, atomic int) RETURNS int LANGUAGE sql "
    "BEGIN ATOMIC SELECT CASE WHEN a THEN 1 END AS end; SELECT x.end, y.case AS case; END",
    "CREATE OR REPLACE PROCEDURE p() BEGIN/**/ATOMIC INSERT INTO t VALUES (1); DELETE FROM t; END",
    "SELECT begin atomic FROM t",
    "SELECT 1 AS begin, 2 atomic",
    "CREATE RULE r AS ON INSERT TO t DO ALSO (INSERT INTO a VALUES (1); DELETE FROM b)",
    "BEGIN",
    "END",
    "SELECT a$b$ FROM c$b$",
    "SELECT 'a' -- ;\n 'b'",
)


def readable_files() -> list[str]:
    found = []
    for path in sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.sql")):
        text = path.read_text(errors="replace")
        try:
            parse_statements(text)
        except SQLParseError:
            continue
        found.append(text)
    return found


FILES = readable_files()
STATEMENTS = sorted({text[one.start : one.end] for text in FILES for one in parse_statements(text)})[:400]


def by_scanner(sql: str) -> list[tuple[int, str]]:
    return [(start, without_comments(sql[start:end]).strip()) for start, end in statement_spans(sql)]


def by_parser(sql: str) -> list[tuple[int, str]]:
    return [(one.start, without_comments(sql[one.start : one.end]).strip()) for one in parse_statements(sql)]


def test_there_is_something_to_compare() -> None:
    assert len(FILES) > 40
    assert len(STATEMENTS) > 100


@pytest.mark.parametrize("number", range(len(FILES)))
def test_files(number: int) -> None:
    assert by_scanner(FILES[number]) == by_parser(FILES[number])


@pytest.mark.parametrize("sql", TRICKY)
def test_tricky_statements(sql: str) -> None:
    both = f"{sql};\n{sql}"
    assert len(by_parser(both)) == 2
    assert by_scanner(both) == by_parser(both)


@given(
    st.lists(st.sampled_from([*STATEMENTS, *TRICKY]), min_size=1, max_size=8),
    st.lists(
        st.sampled_from([";", ";\n", " ; ; ", ";-- ;\n", "/* ; */;\n\n", ";\t/* ' */ -- \"\n"]), min_size=8, max_size=8
    ),
)
@settings(max_examples=150, deadline=None)
def test_mixtures(statements: list[str], separators: list[str]) -> None:
    # The newline ends a comment in the last line of a statement.
    sql = "".join(f"{one}\n{separator}" for one, separator in zip(statements, separators, strict=False))
    assert by_scanner(sql) == by_parser(sql)


@given(st.lists(st.sampled_from([*STATEMENTS, *TRICKY]), max_size=6), st.integers(0, 6))
@settings(max_examples=100, deadline=None)
def test_an_unknown_statement_does_not_affect_the_others(statements: list[str], at: int) -> None:
    """The other statements keep their text and trees."""
    mixed = [*statements[:at], "FROBNICATE é $$;$$", *statements[at:]]
    sql = "\n;".join(mixed) + "\n"
    found = parse_newer(sql)
    opaque = [one for one in found if one.tree is None]
    assert [sql[one.start : one.end] for one in opaque] == ["FROBNICATE é $$;$$"]
    alone = [one for text in statements for one in parse_statements(text)]
    assert [one.tree for one in found if one.tree is not None] == [one.tree for one in alone]
