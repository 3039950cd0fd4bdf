"""Notices, errors, and text that resembles a placeholder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Project

T = "CREATE TABLE {{tables.t}} (id int, v text);"


def test_copy_from_stdin_with_its_rows_runs_or_is_explained(project: Project) -> None:
    copy = "COPY {{tables.t}} (id, v) FROM stdin;\n1\tone\n2\t\\N\n\\.\nINSERT INTO {{tables.t}} VALUES (3, 'x');\n"
    outcome = project.apply({"001.sql": T, "002.sql": copy})
    assert outcome.succeeded or outcome.failed_with("COPY"), outcome.text
    if outcome.succeeded:
        assert project.sql("SELECT id, v FROM app.t ORDER BY id") == [(1, "one"), (2, None), (3, "x")]


def test_a_runtime_error_in_a_do_block_has_its_line(project: Project) -> None:
    text = f"{T}\n\nDO $$\nBEGIN\n  PERFORM 1;\n  PERFORM 1/0;\nEND $$;\n"
    assert project.apply({"001.sql": text}).failed_with("001.sql:6"), project.apply().text


def test_a_runtime_error_in_a_function_of_another_file_has_its_context(project: Project) -> None:
    function = "CREATE FUNCTION {{schema}}.f() RETURNS int LANGUAGE plpgsql AS $$\nBEGIN\n  RETURN 1/0;\nEND $$"
    outcome = project.apply({"001.sql": function, "002.sql": "SELECT {{schema}}.f()"})
    assert outcome.failed_with("002.sql:1", "line 3"), outcome.text


def test_a_runtime_error_in_a_do_block_in_plain_quotes_has_its_line(project: Project) -> None:
    outcome = project.apply({"001.sql": "SELECT 1;\nDO LANGUAGE plpgsql '\nBEGIN\n  PERFORM 1/0;\nEND';"})
    assert outcome.failed_with("001.sql:4:3", "division by zero"), outcome.text


def test_a_failed_commit_has_no_warning_of_pgdbm_s_own_rollback(project: Project) -> None:
    deferred = "CREATE TABLE t (id int PRIMARY KEY, u int REFERENCES t DEFERRABLE INITIALLY DEFERRED);"
    outcome = project.apply({"001.sql": f"{deferred}\nINSERT INTO t VALUES (1, 2);"})
    assert outcome.failed_with("001.sql", "violates foreign key constraint"), outcome.text
    assert "no transaction in progress" not in outcome.text


def test_the_history_of_another_tool_is_not_to_be_written_to_that_of_pgdbm(project: Project) -> None:
    # As the structure.sql of Rails ends.
    insert = "SET search_path TO public;\nINSERT INTO \"schema_migrations\" (version) VALUES ('20240101');"
    outcome = project.apply({"001.sql": insert})
    assert outcome.failed_with("001.sql:2:", "history of pgdbm", "Remove the statement"), outcome.text
    assert "tables.schema_migrations" not in outcome.text


def test_the_text_of_a_failed_execute_is_shown(project: Project) -> None:
    outcome = project.apply({"001.sql": "DO $$\nBEGIN\n  EXECUTE 'CREATE TABEL x ()';\nEND $$;\n"})
    assert outcome.failed_with("CREATE TABEL x ()"), outcome.text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("DO $$ BEGIN RAISE NOTICE 'backfilled % rows', 42; END $$", "backfilled 42 rows"),
        ("DO $$ BEGIN RAISE WARNING 'three rows had no owner'; END $$", "three rows had no owner"),
        ("DROP TABLE IF EXISTS {{tables.nothing}}", "does not exist, skipping"),
    ],
)
def test_notices_are_shown(project: Project, text: str, shown: str) -> None:
    outcome = project.apply({"001.sql": text})
    assert outcome.succeeded, outcome.text
    assert shown in outcome.text


@pytest.mark.parametrize(
    "text", ["Dear {{first_name}}, welcome", "{{#each items}}{{/each}}", "{{ user.name | title }}"]
)
def test_a_template_of_mail_in_a_string_is_stored_as_it_is(project: Project, text: str) -> None:
    outcome = project.apply({"001.sql": T, "002.sql": f"INSERT INTO {{{{tables.t}}}} VALUES (1, '{text}')"})
    assert outcome.succeeded, outcome.text
    assert project.sql("SELECT v FROM app.t") == [(text,)]


def test_placeholders_in_a_string_are_kept_or_reported_in_the_plan(project: Project) -> None:
    text = "select * from {{schema}}.orders join {{tables.orders}}"
    project.write({"001.sql": T, "002.sql": f"INSERT INTO {{{{tables.t}}}} VALUES (1, '{text}')"})
    plan = project.plan()
    outcome = project.apply()
    assert outcome.succeeded, outcome.text
    assert project.sql("SELECT v FROM app.t") == [(text,)] or "PGDBM031" in plan


def test_psql_commands_are_skipped_or_refused_by_name(project: Project) -> None:
    outcome = project.apply({"001.sql": f"\\set ON_ERROR_STOP on\n\\echo 'one table'\n{T}"})
    assert outcome.succeeded, outcome.text
    assert project.apply({"002.sql": "SELECT 1;\n\\i other.sql"}).failed_with("002.sql:2:1", "\\i is a psql command")


def test_an_unqualified_name_is_in_the_schema_of_the_module(project: Project) -> None:
    outcome = project.apply({"001.sql": "CREATE TABLE users (id int)"})
    assert outcome.succeeded, outcome.text
    assert project.exists("app.users")


@pytest.mark.parametrize("sqlstate", ["08001", "08006", "08P01", "25006", "28P01", "53300", "57P01", "57P03", "57P05"])
def test_an_error_of_a_statement_is_no_lost_connection(project: Project, sqlstate: str) -> None:
    # As CREATE SUBSCRIPTION, dblink and postgres_fdw report the failures of other servers.
    raised = f"DO $$ BEGIN RAISE EXCEPTION 'other server' USING ERRCODE = '{sqlstate}'; END $$;"
    outcome = project.apply({"001.sql": f"CREATE TABLE t ();\n{raised}"})
    assert outcome.failed_with("001.sql:2:", "statement 2: other server", sqlstate), outcome.text
    assert "unavailable" not in outcome.text
    assert "was lost" not in outcome.text


def test_a_publisher_that_cannot_be_reached_is_no_lost_connection(project: Project) -> None:
    subscription = "CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1 port=1 dbname=x user=x password=x' PUBLICATION p;"
    outcome = project.apply({"001.sql": f"-- pgdbm:no-transaction\n{subscription}"})
    assert outcome.failed_with("001.sql:2:1", "subscription", "08006"), outcome.text


@pytest.mark.parametrize("statement", ["EXECUTE missing;", "PREPARE p AS SELECT 1; PREPARE p AS SELECT 2;"])
def test_prepared_statements_of_a_file_are_not_those_of_a_pooler(project: Project, statement: str) -> None:
    outcome = project.apply({"001.sql": statement})
    assert outcome.failed_with("prepared statement", "exist"), outcome.text
    assert "pgbouncer" not in outcome.text
