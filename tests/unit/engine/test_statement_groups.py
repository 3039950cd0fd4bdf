"""How a file is cut into messages."""

from __future__ import annotations

import pytest

from pgdbm.migrations.engine.statement_groups import Pace, is_worth_joining
from pgdbm.migrations.sources.migration import read_migration
from pgdbm.migrations.sources.parser import ParsedMigration, parse

UPDATE = "UPDATE t SET a = 1;\n"


def parsed(content: str) -> ParsedMigration:
    return parse(read_migration("1.sql", content.encode()), "app")


def sizes(migration: ParsedMigration, pace: Pace, seconds: float) -> list[int]:
    """The sizes of all groups, when each message takes ``seconds``."""
    found: list[int] = []
    while sum(found) < len(migration.statements):
        group = pace.group(migration.statements, sum(found))
        assert [one.number for one in group] == list(range(sum(found) + 1, sum(found) + len(group) + 1))
        pace.took(len(group), seconds)
        found.append(len(group))
    return found


def test_messages_grow_while_they_are_fast() -> None:
    assert sizes(parsed(UPDATE * 5000), Pace(), 0.001) == [*(4**n for n in range(6)), 2048, 1587]
    assert sizes(parsed(UPDATE * 5000), Pace(), 0.05) == [*(2**n for n in range(12)), 905]


def test_messages_shrink_when_they_are_slow() -> None:
    assert sizes(parsed(UPDATE * 20), Pace(16), 0.8) == [16, 4]
    assert sizes(parsed(UPDATE * 20), Pace(16), 8.0) == [16, 1, 1, 1, 1]


def test_only_statements_that_change_rows_share_a_message() -> None:
    content = f"{UPDATE}SET search_path = a;\n{UPDATE}DELETE FROM t;\nINSERT INTO t VALUES (1);\nSELECT f();\n{UPDATE}"
    assert sizes(parsed(content), Pace(512), 0.001) == [1, 1, 3, 1, 1]


def test_a_message_is_limited_in_characters() -> None:
    content = f"UPDATE t SET a = '{'x' * 100_000}';\n" * 5
    assert sizes(parsed(content), Pace(512), 0.001) == [2, 2, 1]


def test_a_file_of_few_statements_is_not_worth_a_question() -> None:
    assert not is_worth_joining(parsed(UPDATE * 15 + "SELECT 1;" + UPDATE * 15))
    assert is_worth_joining(parsed("SELECT 1;" + UPDATE * 16))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("CREATE TABLE t (a int PRIMARY KEY, b text CHECK (b <> ''), UNIQUE (b)); CREATE INDEX i ON t (a);", True),
        ("CREATE TABLE t (); CREATE TABLE u ();", True),
        ("CREATE TABLE t (a int REFERENCES u);", False),
        ("CREATE TABLE t (a int, FOREIGN KEY (a) references u (a));", False),
        ("CREATE TABLE t (LIKE u);", False),
        ("CREATE TABLE t () INHERITS (u);", False),
        ("CREATE TABLE t PARTITION OF u DEFAULT;", False),
        ("CREATE TABLE t AS SELECT * FROM u;", False),
        ("CREATE TABLE IF NOT EXISTS t (a int);", False),
        ("CREATE TABLE t (a int); ALTER TABLE t ADD COLUMN b int;", False),
        ("CREATE TABLE t (a int); INSERT INTO t VALUES (1);", False),
    ],
)
def test_a_file_that_only_creates_tables_and_indexes_waits_for_nothing(content: str, expected: bool) -> None:
    assert parsed(content).locks_only_new_tables is expected
