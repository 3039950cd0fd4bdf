"""Queries without their values."""

from __future__ import annotations

import pytest

from pgdbm_service.database.masking import masked


def test_no_query_stays_none() -> None:
    assert masked(None) is None
    assert masked("") == ""


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("SELECT 1, 'a''b', x1 FROM t WHERE y = $1", "SELECT ?, ?, x1 FROM t WHERE y = $1"),
        ("SELECT E'a\\'b', 'c'", "SELECT ?, ?"),
        ("SELECT $$it's$$, $a$ $$ $a$, 'x'", "SELECT ?, ?, ?"),
        ("-- it's\nSELECT 'secret'", "SELECT ?"),
        ("/* it's /* nested */ */ SELECT 'secret'", "SELECT ?"),
        ("""SELECT "it's", 'secret'""", """SELECT "it's", ?"""),
        ("SELECT '-- no comment', 'secret'", "SELECT ?, ?"),
        ("SELECT 'cut off", "SELECT ?"),
        ("SELECT $a$cut off", "SELECT ?"),
        ("SELECT E'cut off\\", "SELECT ?"),
        ("SELECT 1 /* cut off 'x", "SELECT ?"),
        ("SELECT 'a\\', secret'", "SELECT ?"),
        ("SELECT B'01', X'ff', U&'\\0041', 1.5e3, .5", "SELECT ?, ?, ?, ?, ?"),
        ("ALTER ROLE a PASSWORD 'secret'", "ALTER ROLE a PASSWORD ?"),
    ],
)
def test_values_and_comments_are_masked(query: str, shown: str) -> None:
    assert masked(query) == shown
