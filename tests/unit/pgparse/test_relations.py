"""The relations that a query names."""

from __future__ import annotations

import pytest

from pgdbm.pgparse.lock_modes import LockMode
from pgdbm.pgparse.relations import Reference, references

from .trees import one


def found(sql: str) -> list[Reference]:
    return list(references(one(sql)[1]))


def names(sql: str) -> list[str]:
    return sorted({reference.relation for reference in found(sql)})


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1", []),
        ("SELECT * FROM a, s.b", ["a", "s.b"]),
        ("SELECT * FROM a JOIN b ON EXISTS (SELECT FROM c)", ["a", "b", "c"]),
        ("SELECT (SELECT max(x) FROM a) FROM b WHERE y IN (SELECT y FROM c)", ["a", "b", "c"]),
        ("SELECT * FROM (SELECT * FROM a) AS b", ["a"]),
        ("SELECT * FROM a UNION SELECT * FROM b", ["a", "b"]),
        ("SELECT * FROM generate_series(1, 2) AS a", []),
        ("SELECT * FROM a CROSS JOIN LATERAL (SELECT * FROM b WHERE b.x = a.x) AS c", ["a", "b"]),
        ("TABLE a", ["a"]),
        ("INSERT INTO t VALUES (1, 'x'), ((SELECT y FROM a), f((SELECT z FROM b)))", ["a", "b", "t"]),
        ("SELECT 1 FROM a WHERE x IN (1, (SELECT y FROM b))", ["a", "b"]),
    ],
)
def test_every_relation_of_a_query_is_found(sql: str, expected: list[str]) -> None:
    assert names(sql) == expected


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("WITH w AS (SELECT * FROM a) SELECT * FROM w", ["a"]),
        ("WITH w AS (SELECT * FROM w) SELECT * FROM w", ["w"]),
        ("WITH RECURSIVE w AS (SELECT 1 UNION SELECT * FROM w) SELECT * FROM w", []),
        ("WITH v AS (SELECT 1), w AS (SELECT * FROM v) SELECT * FROM w", []),
        ("WITH v AS (SELECT * FROM w), w AS (SELECT 1) SELECT * FROM v, w", ["w"]),
        ("WITH w AS (SELECT 1) SELECT * FROM s.w", ["s.w"]),
        ("WITH w AS (SELECT 1) INSERT INTO w SELECT * FROM w", ["w"]),
        ("WITH w AS (DELETE FROM a RETURNING *) SELECT * FROM w", ["a"]),
        ("SELECT * FROM (WITH w AS (SELECT 1) SELECT * FROM w) AS x, w", ["w"]),
    ],
)
def test_the_name_of_a_with_query_is_not_a_relation_where_it_is_in_scope(sql: str, expected: list[str]) -> None:
    assert names(sql) == expected


@pytest.mark.parametrize(
    ("sql", "modes"),
    [
        ("SELECT * FROM a", {"a": LockMode.ACCESS_SHARE}),
        ("SELECT * FROM a FOR UPDATE", {"a": LockMode.ROW_SHARE}),
        ("SELECT * FROM a AS x, b FOR UPDATE OF x", {"a": LockMode.ROW_SHARE, "b": LockMode.ACCESS_SHARE}),
        ("SELECT * FROM a WHERE x IN (TABLE b) FOR UPDATE", {"a": LockMode.ROW_SHARE, "b": LockMode.ACCESS_SHARE}),
        ("SELECT * FROM (SELECT * FROM a) AS x FOR UPDATE", {"a": LockMode.ROW_SHARE}),
        ("UPDATE a SET x = 1 FROM b", {"a": LockMode.ROW_EXCLUSIVE, "b": LockMode.ACCESS_SHARE}),
    ],
)
def test_each_reference_has_its_lock_mode(sql: str, modes: dict[str, LockMode]) -> None:
    assert {reference.relation: reference.mode for reference in found(sql)} == modes


def test_the_location_is_an_offset_in_bytes() -> None:
    sql = "SELECT 'größe', x FROM straße, s.b"
    located = {reference.relation: sql.encode()[reference.location :].decode() for reference in found(sql)}
    assert located == {"straße": "straße, s.b", "s.b": "s.b"}


def test_a_table_that_the_statement_makes_is_marked() -> None:
    created, read = sorted(found("SELECT * INTO TEMP t FROM o"), key=lambda reference: not reference.created)
    assert (created.relation, created.created, created.temporary) == ("t", True, True)
    assert (read.relation, read.created, read.temporary) == ("o", False, False)
