"""Reading nodes of the parse tree."""

from __future__ import annotations

import pytest

from pgdbm.pgparse.tree import (
    alter_commands,
    children,
    column_constraints,
    nested,
    object_names,
    object_type,
    option_is_on,
    owner_name,
    relation_name,
    strings,
)

from .trees import one


@pytest.mark.parametrize(
    ("written", "on"),
    [
        ("", False),
        ("(full)", True),
        ("(full on)", True),
        ("(full true)", True),
        ("(full 'on')", True),
        ("(full 1)", True),
        ("(full off)", False),
        ("(full false)", False),
        ("(full 'false')", False),
        ("(full 'OFF')", False),
        ("(full 0)", False),
        ("(full '0')", False),
        ("(analyze, full)", True),
        ("(analyze)", False),
    ],
)
def test_every_form_of_a_boolean_option(written: str, on: bool) -> None:
    _, node = one(f"VACUUM {written} t" if written else "VACUUM t")
    assert option_is_on(node.options, "full") is on


def test_the_default_of_an_option_counts_only_where_it_is_not_given() -> None:
    _, node = one("VACUUM (full off) t")
    assert option_is_on(node.options, "full", default=True) is False
    assert option_is_on(node.options, "freeze", default=True) is True


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("DROP TABLE a, s.b", [["a"], ["s", "b"]]),
        ("DROP TRIGGER g ON s.t", [["s", "t", "g"]]),
        ("DROP FUNCTION s.f(int)", [["s", "f"]]),
        ("DROP TYPE s.e", [["s", "e"]]),
        ("DROP SCHEMA s", [["s"]]),
        ("DROP CAST (int AS text)", []),
        ("DROP TRANSFORM FOR int LANGUAGE sql", []),
        ("DROP OPERATOR s.+ (int, int)", [["s", "+"]]),
    ],
)
def test_the_names_in_a_drop_statement(sql: str, names: list[list[str]]) -> None:
    assert object_names(one(sql)[1]) == names


@pytest.mark.parametrize(
    ("kind", "name", "owner"),
    [
        ("OBJECT_TABLE", ["s", "t"], ["s", "t"]),
        ("OBJECT_FUNCTION", ["f"], ["f"]),
        ("OBJECT_TRIGGER", ["s", "t", "g"], ["s", "t"]),
        ("OBJECT_COLUMN", ["t", "a"], ["t"]),
        ("OBJECT_SCHEMA", ["s"], None),
        ("OBJECT_ROLE", ["r"], None),
    ],
)
def test_what_a_schema_holds(kind: str, name: list[str], owner: list[str] | None) -> None:
    assert owner_name(kind, name) == owner


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("DROP TABLE t", "TABLE"),
        ("DROP MATERIALIZED VIEW v", "MATERIALIZED VIEW"),
        ("DROP STATISTICS s", "STATISTICS"),
        ("DROP FOREIGN TABLE t", "FOREIGN TABLE"),
        ("DROP EVENT TRIGGER g", "EVENT TRIGGER"),
        ("DROP TEXT SEARCH PARSER p", "TEXT SEARCH PARSER"),
        ("DROP OPERATOR FAMILY f USING btree", "OPERATOR FAMILY"),
    ],
)
def test_the_type_of_an_object_is_as_in_sql(sql: str, words: str) -> None:
    assert object_type(one(sql)[1], "remove_type") == words


def test_the_name_of_a_relation_has_its_schema() -> None:
    assert relation_name(one("CREATE TABLE s.t ()")[1].relation) == "s.t"
    assert relation_name(one('CREATE TABLE "T" ()')[1].relation) == "T"


def test_subcommands_and_constraints_have_their_kinds() -> None:
    _, node = one("ALTER TABLE t ADD COLUMN a int NOT NULL UNIQUE REFERENCES o, DROP COLUMN b")
    (added, column), (dropped, _) = alter_commands(node)
    assert (added, dropped) == ("AT_AddColumn", "AT_DropColumn")
    kinds = [kind for kind, _ in column_constraints(getattr(column, "def").column_def)]
    assert kinds == ["CONSTR_NOTNULL", "CONSTR_UNIQUE", "CONSTR_FOREIGN"]


def test_every_node_below_a_statement_is_visited() -> None:
    _, node = one("SELECT f(a, g(b)) FROM t WHERE EXISTS (SELECT FROM u)")
    found = list(nested(node))
    assert found[0] is node
    assert sorted(one.relname for one in found if one.DESCRIPTOR.name == "RangeVar") == ["t", "u"]
    assert sorted(strings(one.funcname)[0] for one in found if one.DESCRIPTOR.name == "FuncCall") == ["f", "g"]
    assert {field for field, _ in children(node)} == {"target_list", "from_clause", "where_clause"}


@pytest.mark.parametrize("value", ["1.5", "+", "'maybe'", "NONE"])
def test_a_value_that_is_not_boolean_is_left_to_the_server(value: str) -> None:
    _, node = one(f"CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p WITH (connect = {value})")
    assert option_is_on(node.options, "connect")
