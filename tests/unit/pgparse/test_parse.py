"""Texts of several statements: where each starts and ends, and the position of syntax errors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdbm.pgparse.parse import SQLSyntaxError, line_comments, parse_statements, parse_tree, split

# Each is one whole statement.
STATEMENTS = (
    "SELECT 1",
    "SELECT ';'",
    "SELECT 'it''s; fine'",
    r"SELECT E'\';'",
    'SELECT 1 AS "a;b"',
    "DO $$ BEGIN NULL; END $$",
    "DO $body$ BEGIN EXECUTE $$SELECT 1;$$; END $body$",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT 2; END",
    "CREATE TABLE größe (straße text DEFAULT 'ß;')",
    "SELECT '🐘' AS elephant",
    "CREATE RULE r AS ON INSERT TO t DO ALSO (INSERT INTO a VALUES (1); INSERT INTO b VALUES (2))",
)


def texts(sql: str) -> list[str]:
    return [sql[found.start : found.end].strip() for found in parse_statements(sql)]


@pytest.mark.parametrize("statement", STATEMENTS)
def test_a_semicolon_inside_a_statement_does_not_end_it(statement: str) -> None:
    assert texts(f"{statement}; SELECT 2") == [statement, "SELECT 2"]
    assert [one.strip() for one in split(f"{statement}; SELECT 2")] == [statement, "SELECT 2"]


@given(st.lists(st.sampled_from(STATEMENTS), min_size=1, max_size=6), st.sampled_from([";", ";\n", " ;\n\n", ";;"]))
def test_offsets_count_characters_in_any_mixture(statements: list[str], separator: str) -> None:
    assert texts(separator.join(statements)) == statements


@pytest.mark.parametrize("sql", ["", "  \n", ";", ";;;", "-- only a comment", "/* only */", "/* a */ ; -- b"])
def test_a_text_without_a_statement_is_empty(sql: str) -> None:
    assert parse_statements(sql) == []
    assert list(parse_tree(sql)) == []


@pytest.mark.parametrize(
    ("sql", "at"),
    [
        ("CREATE TABEL t ()", "TABEL"),
        ("SELECT 1; CREATE TABEL t ()", "TABEL"),
        ("SELECT 'größe'; CREATE TABEL t ()", "TABEL"),
        ("SELECT '🐘🐘'; SELEC 1", "SELEC"),
        ("/* größe */ SELECT 'ß' FROM FROM t", "FROM t"),
        ("\\set x 1", "\\"),
    ],
)
def test_a_syntax_error_has_its_offset_in_characters(sql: str, at: str) -> None:
    with pytest.raises(SQLSyntaxError) as caught:
        parse_statements(sql)
    assert sql[caught.value.offset :].startswith(at)
    assert caught.value.message.startswith("syntax error at or near")


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("SELECT 'open", "unterminated quoted string"),
        ("SELECT $$open", "unterminated dollar-quoted string"),
        ('SELECT "open', "unterminated quoted identifier"),
        ("SELECT 1 /* open", "unterminated /* comment"),
    ],
)
def test_what_is_not_closed_is_named(sql: str, says: str) -> None:
    with pytest.raises(SQLSyntaxError, match=f"^{says.replace('*', r'[*]')}") as caught:
        parse_statements(sql)
    assert 0 <= caught.value.offset <= len(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 WHERE 1 NOT /* x */ IN (2)",
        "SELECT 1 WHERE 1 NOT -- x\n IN (2)",
        "SELECT 1 WHERE 1 NOT /* größe */ BETWEEN 2 AND 3",
        "SELECT 1 ORDER BY 1 NULLS /* x */ FIRST",
    ],
)
def test_a_comment_between_words_that_belong_together(sql: str) -> None:
    assert texts(sql) == [sql]
    assert texts(f"{sql}; SELECT 2") == [sql, "SELECT 2"]


@pytest.mark.parametrize("depth", [60, 200, 400])
def test_a_deeply_nested_statement_does_not_affect_other_trees(depth: int) -> None:
    deep = "SELECT " + " + ".join(["1"] * depth)
    before, nested, after = parse_statements(f"CREATE TABLE größe (); {deep}; DROP TABLE größe")
    assert before.tree is not None
    assert after.tree is not None
    sql = f"CREATE TABLE größe (); {deep}; DROP TABLE größe"
    assert sql[nested.start : nested.end].strip() == deep
    assert sql[after.start : after.end].strip() == "DROP TABLE größe"


@pytest.mark.parametrize(
    ("sql", "comments"),
    [
        ("SELECT 1", []),
        ("-- a\nSELECT 1 -- b", [(0, "-- a"), (14, "-- b")]),
        ("SELECT '-- no' -- größe", [(15, "-- größe")]),
        ("SELECT 'ß' -- x\n", [(11, "-- x")]),
        ("SELECT $$ -- no $$", []),
        ("/* -- no */ SELECT 1", []),
        ("SELECT 'open -- no", []),
    ],
)
def test_line_comments_are_found_outside_strings(sql: str, comments: list[tuple[int, str]]) -> None:
    assert line_comments(sql) == comments
