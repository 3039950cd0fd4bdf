"""Statements that differ from a parsed one in their constants only are found as the parser finds them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgdbm.pgparse import repetitions
from pgdbm.pgparse.parse import SQLParseError, parse_statements
from pgdbm.pgparse.repetitions import Repetitions
from pgdbm.pgparse.traits import Traits, traits_of
from pgdbm.pgparse.tree import statement_node

# Constants, and what has to be distinguished from them: some of these make the statement invalid.
_VALUES = (
    *("1", "22", "-3", "1.5", "22.75", "12345678901", "0x1F", "1x1F", "1_000", "1e5", ".5", "5.", "$1", "t.c1", "c2"),
    *("'a'", "'it''s'", "''", "'two\nlines'", "'a;\nb'", "'a -- b'", "E'\\''", "U&'d\\0061'", "b'01'", "x'1F'", "n'a'"),
    *('"c"', '"it\'s"', '"that\'s"', '"a b 3"', "f()", "now()", "NULL", "'a", '"a', "'a' 'b'", "'a'\n'b'", "'ö'", "€5"),
    *("1::text", "'3'::varchar(5)", "'x'::time(3)", "'x'::time(3.5)", "(SELECT 1)", "1; DELETE FROM t", "1 --"),
)
_TEXTS = (
    "INSERT INTO t (a, b) VALUES ({}, {});\n",
    'UPDATE "s".t1 SET a = {} WHERE b = {};\n',
    "DELETE FROM t WHERE a = {} OR b IN ({}, 2);\n",
    "SELECT {}, {};\n",
    "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC\nSELECT {};\nSELECT {};\nEND;\n",
)


def parsed(text: str) -> list[tuple[int, int, Traits]] | None:
    """The statements as the parser finds them; None for a syntax error."""
    try:
        return [
            (one.start, one.end, traits_of(*statement_node(one.tree))) for one in parse_statements(text) if one.tree
        ]
    except SQLParseError:
        return None


@settings(max_examples=500)
@given(
    st.lists(st.tuples(st.sampled_from(_TEXTS), st.sampled_from(_VALUES), st.sampled_from(_VALUES)), max_size=4),
    st.sampled_from(_TEXTS),
    st.lists(st.tuples(st.integers(0, 10**9), st.sampled_from(("'a'", "'ö'", "7", "8"))), min_size=1, max_size=60),
)
def test_statements_are_those_of_the_parser(
    special: list[tuple[str, str, str]], common: str, values: list[tuple[int, str]]
) -> None:
    text = "".join(common.format(*pair) for pair in values) + "".join(one.format(*pair) for one, *pair in special)
    found = Repetitions().find(text, 0, len(text))
    assert found is None or found == parsed(text)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that were parsed."""
    texts: list[str] = []

    def parse(text: str) -> object:
        texts.append(text)
        return parse_statements(text)

    monkeypatch.setattr(repetitions, "parse_statements", parse)
    return texts


def test_one_statement_of_each_kind_is_parsed(counted: list[str]) -> None:
    text = "".join(
        f"INSERT INTO \"app\".t (id, note, price) VALUES ({number}, 'note {number}', {number}.25);\n"
        f"UPDATE t SET note = 'it''s {number}' WHERE id = {number};\n"
        for number in range(100)
    )
    half = text.index("INSERT", len(text) // 2)
    found = Repetitions()
    first, second = found.find(text, 0, half), found.find(text, half, len(text))
    assert first is not None
    assert second is not None
    assert [*first, *second] == parsed(text)
    assert len(counted) == 2


def test_statements_that_do_not_repeat_are_left_to_the_parser(counted: list[str]) -> None:
    text = "".join(f"CREATE TABLE t{number} (id int);\n" for number in range(100))
    assert Repetitions().find(text, 0, len(text)) is None
    assert not counted
