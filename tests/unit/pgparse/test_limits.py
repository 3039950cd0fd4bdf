"""Text that would kill the parser or keep it busy is found, and no other text is."""

from __future__ import annotations

import time

import pytest

from pgdbm.pgparse.limits import MAX_CHAIN, SHORT_CHARACTERS, breach_of, count_chain, longest_chain
from pgdbm.pgparse.parse import OutOfBoundsError, SQLSyntaxError, parse_statements, parse_tree, split

LONG = 25_000
CHAINS = {
    "+": "SELECT " + "1+" * LONG + "1",
    "||": "SELECT a" + "||a" * LONG,
    "cast": "SELECT a" + "::int" * LONG,
    "cross join": "SELECT FROM t" + " CROSS JOIN t" * LONG,
    "left join": "SELECT FROM t" + " LEFT JOIN t ON a = b AND c" * LONG,
    "is null": "SELECT a" + " IS NULL" * LONG,
    "is null in brackets": "SELECT (a" + " IS NULL" * LONG + ")",
    "collate": "SELECT a" + " COLLATE c" * LONG,
    "at time zone": "SELECT a" + " AT TIME ZONE a" * LONG,
    "in": "SELECT a" + " IN (a, 'b')" * LONG,
    "operator()": "SELECT a" + " OPERATOR(+) a" * LONG,
    "union": "SELECT a, b" + " UNION ALL SELECT a, b" * LONG,
    "default": "CREATE TABLE t (a int DEFAULT 1" + "+1" * LONG + ")",
    "a column named as a keyword": "SELECT 1" + "+set+values" * LONG,
    "a field named as a reserved word": "SELECT 1" + "+a.and" * LONG,
    "the same with a comment": "SELECT 1" + "+a./**/from" * LONG,
    "behind a comment": "SELECT /* ' */ 1" + "+1" * LONG,
    "behind a string": r"SELECT E'\'' + 1" + "+1" * LONG,
}


@pytest.mark.parametrize("sql", CHAINS.values(), ids=CHAINS)
def test_a_chain_that_would_overflow_the_stack_is_refused(sql: str) -> None:
    with pytest.raises(OutOfBoundsError, match="chains more than 20,000") as caught:
        parse_statements(f"SELECT 1;\n{sql};\nSELECT 2")
    assert 10 < caught.value.offset < len(sql) + 10


def test_the_longest_chain_that_is_allowed_is_split_but_not_decoded() -> None:
    deep = "SELECT 1" + "+1" * (MAX_CHAIN - 1)
    assert count_chain(deep).links == MAX_CHAIN - 1
    first, second, third = parse_statements(f"SELECT 1; {deep}; SELECT 'ü'")
    assert (first.tree is None, second.tree is None, third.tree is None) == (False, True, False)
    assert f"SELECT 1; {deep}; SELECT 'ü'"[second.start : second.end].strip() == deep


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t VALUES " + ", ".join(f"({n}, 'a-b-c', -{n}, now(), 1 + {n})" for n in range(LONG)),
        "SELECT " + " OR ".join(f"(a = {n} AND b <> -{n})" for n in range(LONG)),
        "SELECT 1 - 1 + 1 * 1;" * LONG,
        "SELECT '" + "+ - * / " * LONG + "'",
        "-- " + "=" * 5_000 + "\nSELECT 1;" * 2_000,
        "/* " + "=" * 5_000 + " */ SELECT 1",
    ],
    ids=["rows", "or", "statements", "string", "line", "block"],
)
def test_what_is_long_but_not_deep_is_allowed(sql: str) -> None:
    assert breach_of(sql) is None
    assert longest_chain(sql).links < 500


def test_a_short_text_is_not_counted() -> None:
    assert longest_chain("SELECT 1" + "+1" * (SHORT_CHARACTERS // 2 - 8)).links == 0


@pytest.mark.parametrize("between", ["", " ", "\n"])
def test_many_comments_take_no_time(between: str) -> None:
    started = time.process_time()
    (only,) = parse_statements(f"/* é */{between}" * 100_000 + "SELECT 1 -- é")
    assert only.tree is not None
    assert time.process_time() - started < 5


def test_the_place_of_an_error_behind_many_comments() -> None:
    with pytest.raises(SQLSyntaxError) as caught:
        parse_tree("/*é*/" * 10_000 + "SELEC 1")
    assert caught.value.offset == 50_000


def test_an_operator_without_end_is_refused() -> None:
    with pytest.raises(OutOfBoundsError, match="an operator has more than 1,000 characters") as caught:
        split("SELECT " + "+" * 100_000 + "1")
    assert caught.value.offset == 7


def test_a_comment_without_end_takes_no_time() -> None:
    started = time.process_time()
    with pytest.raises(SQLSyntaxError, match="unterminated") as caught:
        parse_tree("SELECT 1 /* " + "/**/" * 200_000)
    assert caught.value.offset == 9
    assert time.process_time() - started < 5


def test_comments_that_are_nested_too_deeply_are_refused() -> None:
    with pytest.raises(OutOfBoundsError, match="comments are nested more than 1,000 deep"):
        parse_tree("SELECT 1 " + "/*" * 2_000 + "*/" * 2_000)


@pytest.mark.parametrize("size", [5_000_000])
@pytest.mark.parametrize("literal", ["'{}'", "$${}$$", '"{}"', "{}", "E'{}'"])
def test_a_huge_literal(literal: str, size: int) -> None:
    (only,) = parse_statements("SELECT " + literal.format("x" * size))
    assert only.tree is not None
