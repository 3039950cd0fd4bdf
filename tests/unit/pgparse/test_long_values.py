"""Long VALUES lists are parsed without most of their rows, and every position stays that of the original text."""

from __future__ import annotations

import pytest

from pgdbm.pgparse import parse
from pgdbm.pgparse.long_values import without_rows
from pgdbm.pgparse.parse import SQLSyntaxError, parse_statements
from pgdbm.pgparse.tree import nested

# The first 200 rows stay, and a text is shortened from 64 KiB on.
ROWS = 2_500
ROW = "(-{}, 'it''s é', 1.5e3, NULL, '2020-01-01'::date, E'a\\nb', now(), DEFAULT)"


def rows(count: int = ROWS) -> str:
    return ",\n".join(ROW.format(number) for number in range(count))


def whole(sql: str, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    with monkeypatch.context() as patched:
        patched.setattr(parse, "_WORTH_SHORTENING", len(sql) + 1)
        return found_in(sql)


def found_in(sql: str) -> list[object]:
    """The statements of ``sql`` without rows: their positions, and the locations of all other nodes."""
    found: list[object] = []
    for one in parse_statements(sql):
        assert one.tree is not None
        locations = [
            (node.DESCRIPTOR.name, node.location + one.shift)
            for node in nested(one.tree)
            if hasattr(node, "location") and node.DESCRIPTOR.name in ("RangeVar", "ResTarget", "ColumnRef")
        ]
        found += [one.start, one.end, sql[one.start : one.end][-20:], locations]
    return found


@pytest.mark.parametrize(
    "sql",
    [
        f"CREATE TABLE é (id int);\nINSERT INTO t VALUES\n{rows()};\nSELECT é FROM t;",
        f"INSERT INTO t (a, b) VALUES {rows()} ON CONFLICT (a) DO UPDATE SET b = excluded.b RETURNING id",
        f"INSERT INTO t VALUES {rows()};\nINSERT INTO u values{rows()};\nUPDATE v SET x = y;",
        f"SELECT * FROM (VALUES {rows()}) AS v (a) WHERE a = b;",
    ],
)
def test_positions_are_those_of_the_text(sql: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shortened = without_rows(sql)
    assert shortened is not None
    assert len(shortened.sql) < len(sql) / 10
    assert found_in(sql) == whole(sql, monkeypatch)


def test_rows_behind_one_that_has_to_be_parsed_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    sql = f"INSERT INTO t VALUES {rows(4000)}, (f(1) + 1, $$x$$), {rows(500)}"
    shortened = without_rows(sql)
    assert shortened is not None
    assert shortened.sql.count("(") > 500
    assert found_in(sql) == whole(sql, monkeypatch)


@pytest.mark.parametrize(
    "sql",
    [
        f"DO $$ BEGIN EXECUTE 'x'; INSERT INTO t VALUES {rows()}; END $$;",
        f"/* INSERT INTO t VALUES {rows()} */ SELECT 1;",
        f'SELECT 1 AS "VALUES {rows()}";',
        f"INSERT INTO t VALUES {', '.join(f'(a.b, {number})' for number in range(9000))};",
    ],
)
def test_other_text_is_parsed_as_it_is(sql: str) -> None:
    assert without_rows(sql) is None


@pytest.mark.parametrize("behind", ["SELEKT 2;", "(1, ;"])
def test_a_syntax_error_behind_has_its_place(behind: str) -> None:
    sql = f"INSERT INTO t VALUES {rows()};\né {behind}"
    with pytest.raises(SQLSyntaxError) as caught:
        parse_statements(sql)
    assert caught.value.offset == sql.rindex("\né") + 1


@pytest.mark.parametrize(
    "wrong", ["(1, 2", "(1 2)", "('a' 'b')", "(1,)", "()", "(1abc)", "(E'\\u12')", "(0x)", "(1.2.3)"]
)
def test_a_row_with_a_syntax_error_is_found(wrong: str) -> None:
    with pytest.raises(SQLSyntaxError):
        parse_statements(f"INSERT INTO t VALUES {rows()}, {wrong}, {rows(10)};")
