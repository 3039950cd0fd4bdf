"""Statements that would leave the role of a module are refused with their position; others are not."""

from __future__ import annotations

import pytest

from pgdbm import MigrationFileError
from pgdbm.migrations.sources.migration import read_migration
from pgdbm.migrations.sources.parser import GRAMMAR_VERSION, parse_file
from pgdbm.migrations.sources.role_checks import check_keeps_role

DEEP = " || ".join(["a"] * 200)


def check(sql: str, version: int = GRAMMAR_VERSION) -> None:
    check_keeps_role(parse_file(read_migration("001_x.sql", f"SELECT 1;\n{sql}".encode()), "app", version))


@pytest.mark.parametrize(
    "sql",
    [
        "SET ROLE postgres",
        'SET "role" TO none',
        "SET LOCAL SESSION AUTHORIZATION DEFAULT",
        "RESET ROLE",
        "RESET ALL",
        "SELECT set_config('role', 'none', true)",
        "SELECT pg_catalog.set_config('ro' || 'le', 'none', true)",
        "INSERT INTO t SELECT set_config('session_authorization', 'x', true)",
        "UPDATE pg_settings SET setting = 'none' WHERE name = 'role'",
        "DO $$ BEGIN RESET ROLE; END $$",
        "DO $$ BEGIN RESET/**/ROLE; END $$",
        "DO $$ BEGIN SET \"role\" TO 'none'; END $$",
        "DO $$ BEGIN SET/*x*/SESSION AUTHORIZATION DEFAULT; END $$",
        "SELECT query_to_xml('select set_config(''role'', ''none'', true)', true, true, '')",
        "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'SET SESSION AUTHORIZATION DEFAULT'",
        "CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$",
        f"SELECT set_config('role', {DEEP}, true)",
        f"SELECT U&\"set\\005Fconfig\"('role', {DEEP}, true)",
        f"SET work_mem = 1; SET ROLE postgres; SELECT {DEEP}",
    ],
)
def test_leaving_the_role_is_refused(sql: str) -> None:
    with pytest.raises(MigrationFileError, match=r"001_x\.sql:2:\d+: statement \d"):
        check(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE t (role text DEFAULT 'reset role')",
        "SELECT set_config('search_path', '', false)",
        "SET search_path = app",
        "SAVEPOINT a; RELEASE a",
        "UPDATE settings SET role = 'none'",
        "DO $$ BEGIN UPDATE t SET role_name = 'x'; END $$",
        f"CREATE VIEW v AS SELECT {DEEP} AS all FROM t",
        "CREATE VIEW v AS " + " UNION ALL ".join(["SELECT 1"] * 200),
    ],
)
def test_anything_else_is_accepted(sql: str) -> None:
    check(sql)


def test_what_only_a_newer_server_knows_is_refused() -> None:
    with pytest.raises(MigrationFileError, match=r"2:1: statement 2 \(FROBNICATE\): it cannot be checked"):
        check("FROBNICATE", GRAMMAR_VERSION + 1)


@pytest.mark.parametrize(
    "sql",
    [
        "REPACK t",
        "SELECT a FROM t GROUP BY ALL",
        "SELECT begin atomic FROM t GROUP BY ALL; SELECT 1",
        "WITH a AS (SELECT set_config('role', 'none', true)) INSERT INTO t SELECT 1 ON CONFLICT DO SELECT",
        f"SELECT {DEEP}; REPACK t",
    ],
)
def test_nothing_that_the_parser_cannot_read_runs_as_a_role(sql: str) -> None:
    with pytest.raises(MigrationFileError, match="it cannot be checked"):
        check(sql, GRAMMAR_VERSION + 1)


def test_a_role_set_beside_new_syntax_is_refused() -> None:
    with pytest.raises(MigrationFileError, match=r"3:1: statement 3 \(SET ROLE postgres\): it would leave the role"):
        check(f"SELECT {DEEP};\nSET ROLE postgres;\nFROBNICATE", GRAMMAR_VERSION + 1)
