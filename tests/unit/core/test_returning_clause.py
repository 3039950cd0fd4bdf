"""The parser decides whether a statement has a RETURNING clause."""

from __future__ import annotations

import pytest

from pgdbm.core.queries import with_returning_id

ADDED = "\nRETURNING id"


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t (a) VALUES (1)",
        "INSERT INTO t (a) VALUES ('returning')",
        "INSERT INTO t (a) VALUES ($$ RETURNING id $$)",
        "INSERT INTO t (a) VALUES (1) -- RETURNING id",
        "INSERT INTO t (a) VALUES (1) /* RETURNING /* nested */ id */",
        'INSERT INTO t ("returning") VALUES (1)',
        "INSERT INTO returning_visitors (a) VALUES (1)",
        "INSERT INTO t (a) VALUES ('x;y')",
        "WITH gone AS (DELETE FROM u RETURNING a) INSERT INTO t (a) SELECT a FROM gone",
        "UPDATE t SET a = 'returning' WHERE b = $1",
        "DELETE FROM t WHERE a = 'returning'",
        "INSERT INTO t (a) VALUES (1) ON CONFLICT DO NOTHING",
        "MERGE INTO t USING u ON t.id = u.id WHEN MATCHED THEN UPDATE SET a = 'returning'",
        "INSERT INTO t (a) VALUES ('ü returning ü')",
    ],
)
def test_a_statement_without_a_returning_clause_gets_one(sql: str) -> None:
    assert with_returning_id(sql) == sql + ADDED


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t (a) VALUES (1) RETURNING id",
        "insert into t (a) values (1) returning id, a;",
        "INSERT INTO t (a) VALUES (1)\nRETURNING\nid -- and no more",
        "UPDATE t SET a = 1 RETURNING old.a, new.a",
        "DELETE FROM t RETURNING *",
        "WITH x AS (SELECT 1) INSERT INTO t (a) SELECT * FROM x RETURNING id",
        "MERGE INTO t USING u ON t.id = u.id WHEN MATCHED THEN DELETE RETURNING t.id",
        "SELECT 'returning'",
        "INSERT INTO t DEFAULT VALUES; INSERT INTO t DEFAULT VALUES",
    ],
)
def test_a_statement_with_a_returning_clause_keeps_it(sql: str) -> None:
    assert with_returning_id(sql) == sql


@pytest.mark.parametrize(
    ("sql", "statement"),
    [
        ("INSERT INTO t (a) VALUES (1);", "INSERT INTO t (a) VALUES (1)"),
        ("INSERT INTO t (a) VALUES (1) ; -- RETURNING id", "INSERT INTO t (a) VALUES (1) "),
        ("  INSERT INTO t (a) VALUES ('ü;') ;\n\n", "  INSERT INTO t (a) VALUES ('ü;') "),
        ("/* ü */ INSERT INTO t (a) VALUES ('€');/* done */", "/* ü */ INSERT INTO t (a) VALUES ('€')"),
    ],
)
def test_the_clause_goes_before_the_semicolon(sql: str, statement: str) -> None:
    assert with_returning_id(sql) == statement + ADDED


@pytest.mark.parametrize("sql", ["INSERT INTO returning", "INSERT INTO t (a) VALUES ('returning", "SELEC;", ""])
def test_an_invalid_statement_is_left_to_the_server(sql: str) -> None:
    assert with_returning_id(sql) == sql + ADDED
