"""What a file leaves in its session, and what the parser is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Project


def test_an_expression_that_would_overflow_the_parser_fails_only_its_file(project: Project) -> None:
    deep = "SELECT " + "2*" * 60_000 + "2;"
    outcome = project.apply({"001_t.sql": "CREATE TABLE {{tables.t}} ()", "002_deep.sql": deep})
    assert outcome.failed_with("002_deep.sql")
    (project.folder / "002_deep.sql").unlink()
    assert project.apply({"003_u.sql": "CREATE TABLE {{tables.u}} ()"}).succeeded
    assert project.exists("app.u")


def test_two_files_may_create_the_same_temporary_table(project: Project) -> None:
    files = {
        f"00{number}.sql": f"CREATE TEMP TABLE ids AS SELECT {number} AS id; "
        f"CREATE TABLE {{{{tables.t{number}}}}} AS SELECT * FROM ids"
        for number in (1, 2, 3)
    }
    outcome = project.apply(files)
    assert outcome.succeeded, outcome.text
    assert [project.sql(f"SELECT id FROM app.t{number}") for number in (1, 2, 3)] == [[(1,)], [(2,)], [(3,)]]


def test_a_temporary_table_does_not_shadow_the_next_file_s_table(project: Project) -> None:
    outcome = project.apply(
        {
            "001.sql": "CREATE SCHEMA shop; CREATE TABLE shop.users (id int)",
            "002.sql": "CREATE TEMP TABLE users AS SELECT 1 AS id; CREATE TABLE {{tables.t}} ()",
            "003.sql": "SET LOCAL search_path = shop; INSERT INTO users VALUES (7)",
        }
    )
    assert outcome.succeeded, outcome.text
    assert project.sql("SELECT id FROM shop.users") == [(7,)]


@pytest.mark.parametrize(
    "leave",
    [
        "SET search_path = legacy",
        "DO $$ BEGIN EXECUTE 'SET search_path = legacy'; END $$",
        "DO $$ BEGIN PERFORM set_config('search_path', 'legacy', false); END $$",
        "SELECT set_config('search_path', 'legacy', false)",
        "CREATE FUNCTION legacy.f() RETURNS void LANGUAGE sql AS 'SET search_path = legacy'; SELECT legacy.f()",
    ],
)
def test_a_search_path_that_a_file_sets_ends_with_the_file(project: Project, leave: str) -> None:
    outcome = project.apply(
        {
            "001.sql": "CREATE SCHEMA legacy; CREATE TABLE {{tables.t}} ()",
            "002.sql": leave.replace("legacy.f", "{{schema}}.f"),
            "003.sql": "CREATE TABLE {{tables.path}} AS SELECT current_setting('search_path') AS value",
            "004.sql": "ALTER TABLE {{tables.t}} ADD x int",
        }
    )
    assert outcome.succeeded or outcome.failed_with("search_path", "002.sql"), outcome.text
    if outcome.succeeded:
        assert "legacy" not in project.sql("SELECT value FROM app.path")[0][0]


@pytest.mark.parametrize(
    ("leave", "left"),
    [
        ("PREPARE p AS SELECT 1", "SELECT count(*) FROM pg_prepared_statements WHERE name = 'p'"),
        ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "SELECT count(*) FROM pg_cursors WHERE name = 'c'"),
        ("LISTEN news", "SELECT count(*) FROM pg_listening_channels()"),
        ("SELECT pg_advisory_lock(4711)", "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711"),
        ("SET work_mem = '77kB'", "SELECT count(*) FROM pg_settings WHERE name = 'work_mem' AND setting = '77'"),
        (
            "SET TIME ZONE 'Asia/Tokyo'",
            "SELECT count(*) FROM pg_settings WHERE name = 'TimeZone' AND setting ~ 'Tokyo'",
        ),
    ],
)
def test_the_next_file_starts_in_a_clean_session(project: Project, leave: str, left: str) -> None:
    files = {"001.sql": leave, "002.sql": f"CREATE TABLE {{{{tables.t}}}} AS {left}"}
    outcome = project.apply(files)
    assert outcome.succeeded, outcome.text
    assert project.sql("SELECT * FROM app.t") == [(0,)]


def test_resuming_restores_the_search_path_or_is_refused(project: Project) -> None:
    setup = (
        "CREATE SCHEMA billing; CREATE TABLE billing.invoices (no text); CREATE TABLE {{tables.invoices}} (no text); "
        "INSERT INTO billing.invoices VALUES ('x'), ('x'); INSERT INTO {{tables.invoices}} VALUES ('a')"
    )
    index = (
        "-- pgdbm:no-transaction\nSET search_path = billing;\n"
        "CREATE UNIQUE INDEX CONCURRENTLY invoices_no ON invoices (no);\n"
    )
    assert not project.apply({"001.sql": setup, "002.sql": index}).succeeded
    project.sql("DELETE FROM billing.invoices WHERE ctid = '(0,1)'")
    outcome = project.apply()
    assert outcome.succeeded or outcome.failed_with("search_path"), outcome.text
    assert not project.exists("app.invoices_no")
    if outcome.succeeded:
        assert project.sql("SELECT indisvalid FROM pg_index WHERE indexrelid = 'billing.invoices_no'::regclass") == [
            (True,)
        ]


def test_resuming_without_the_temporary_table_is_refused(project: Project) -> None:
    index = (
        "-- pgdbm:no-transaction\nCREATE TEMP TABLE keep AS SELECT 1 AS id;\n"
        "CREATE UNIQUE INDEX CONCURRENTLY t_id ON {{tables.t}} (id);\n"
        "INSERT INTO {{tables.t}} SELECT id + 100 FROM keep;\n"
    )
    setup = "CREATE TABLE {{tables.t}} (id int); INSERT INTO {{tables.t}} VALUES (1), (1)"
    first = project.apply({"001.sql": setup, "002.sql": index})
    assert not first.succeeded
    project.sql("DELETE FROM app.t WHERE ctid = '(0,1)'")
    outcome = project.apply()
    assert outcome.succeeded or outcome.failed_with("temporary"), outcome.text


def test_standard_conforming_strings_off_is_understood_or_named(project: Project) -> None:
    text = (
        "SET standard_conforming_strings = off;\nSET escape_string_warning = off;\n"
        "CREATE TABLE {{tables.t}} (v text);\nINSERT INTO {{tables.t}} VALUES ('Don\\'t');\n"
    )
    outcome = project.apply({"001.sql": text})
    assert outcome.succeeded or outcome.failed_with("standard_conforming_strings"), outcome.text


def test_client_encoding_does_not_garble_text(project: Project) -> None:
    text = "SET client_encoding = 'LATIN1';\nCREATE TABLE {{tables.t}} AS SELECT 'Zoë Über'::text AS v;\n"
    outcome = project.apply({"001.sql": text})
    assert outcome.succeeded or outcome.failed_with("client_encoding"), outcome.text
    if outcome.succeeded:
        assert project.sql("SELECT v FROM app.t") == [("Zoë Über",)]


@pytest.mark.parametrize(
    "body",
    [
        "AS $$\nBEGIN\n-- pgdbm:no-transaction files must not call this\nNULL;\nEND $$",
        "AS $$\nBEGIN\n-- pgdbm:no-transaction\nNULL;\nEND $$",
        "AS '\nBEGIN\n-- pgdbm:no-transaction\nNULL;\nEND'",
    ],
)
def test_the_marker_counts_only_as_a_comment_at_the_top(project: Project, body: str) -> None:
    text = (
        f"CREATE TABLE {{{{tables.a}}}} ();\nCREATE FUNCTION {{{{schema}}}}.f() RETURNS void LANGUAGE plpgsql {body};\n"
        "SELECT 1/0;\n"
    )
    assert project.apply({"001.sql": text}).failed_with("001.sql")
    assert not project.exists("app.a")
