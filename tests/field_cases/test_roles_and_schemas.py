"""Roles, schemas, and the tables that belong to pgdbm itself."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Project

T = "CREATE TABLE {{tables.t}} (id int);"


@pytest.fixture
def role(project: Project) -> Iterator[str]:
    """A role that may create in ``app``."""
    name = f"owner_{uuid.uuid4().hex[:12]}"
    project.sql(f"CREATE ROLE {name}")
    yield name
    project.sql(f"DROP OWNED BY {name}")
    project.sql(f"DROP ROLE {name}")


@pytest.mark.parametrize("set_role", ["SET ROLE {}", "SET LOCAL ROLE {}", "SET SESSION AUTHORIZATION {}"])
def test_a_role_that_a_file_sets_ends_with_the_file(project: Project, role: str, set_role: str) -> None:
    who = "CREATE TABLE {{tables.who}} AS SELECT current_user::text AS name"
    outcome = project.apply(
        {
            "001.sql": f"GRANT CREATE, USAGE ON SCHEMA {{{{schema}}}} TO {role}",
            "002.sql": f"{set_role.format(role)};\n{T}",
            "003.sql": who,
        }
    )
    assert outcome.succeeded, outcome.text
    assert project.sql("SELECT tableowner FROM pg_tables WHERE tablename = 't'") == [(role,)]
    assert project.sql("SELECT name FROM app.who") != [(role,)]


def test_a_privilege_that_the_role_of_a_file_lacks_is_not_granted_to_the_user(project: Project, role: str) -> None:
    outcome = project.apply({"001.sql": f"CREATE TABLE t ();\nSET ROLE {role};\nSELECT * FROM app.t;"})
    assert outcome.failed_with("001.sql:3:", "permission denied", "TO the role that the file set"), outcome.text


def test_a_role_set_without_a_transaction_does_not_reach_the_history(project: Project, role: str) -> None:
    index = (
        f"-- pgdbm:no-transaction\nSET ROLE {role};\nCREATE INDEX CONCURRENTLY t_id ON {{{{tables.t}}}} (id);\n"
        "RESET ROLE;\n"
    )
    grant = f"{T} GRANT ALL ON SCHEMA {{{{schema}}}} TO {role}; ALTER TABLE {{{{tables.t}}}} OWNER TO {role}"
    outcome = project.apply({"001.sql": grant, "002.sql": index})
    assert outcome.succeeded, outcome.text
    assert project.sql("SELECT tableowner FROM pg_tables WHERE tablename = 't'") == [(role,)]
    assert project.sql("SELECT indisvalid FROM pg_index WHERE indexrelid = 'app.t_id'::regclass") == [(True,)]


def test_a_file_that_drops_its_schema_works_or_is_explained(project: Project) -> None:
    outcome = project.apply({"001.sql": T, "002.sql": "DROP SCHEMA {{schema}} CASCADE; CREATE SCHEMA {{schema}}"})
    assert outcome.succeeded or outcome.failed_with("history", "002.sql"), outcome.text
    assert "as which role" not in outcome.text


@pytest.mark.parametrize(
    "first",
    [
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "SET LOCAL transaction_isolation = 'serializable'",
    ],
)
def test_an_isolation_level_can_be_set_or_is_explained(project: Project, first: str) -> None:
    level = "CREATE TABLE {{tables.level}} AS SELECT current_setting('transaction_isolation') AS name"
    outcome = project.apply({"001.sql": f"{first};\n{level};"})
    if outcome.succeeded:
        assert project.sql("SELECT name FROM app.level") != [("read committed",)]
    else:
        assert outcome.failed_with("isolation"), outcome.text


def test_a_dump_that_creates_the_schema_of_the_module_runs_or_is_explained(project: Project) -> None:
    dump = (
        "SET statement_timeout = 0;\nSET client_encoding = 'UTF8';\nSET standard_conforming_strings = on;\n"
        "SELECT pg_catalog.set_config('search_path', '', false);\n"
        "CREATE SCHEMA app;\nCREATE TABLE app.t (\n    id integer NOT NULL\n);\n"
        "ALTER TABLE ONLY app.t\n    ADD CONSTRAINT t_pkey PRIMARY KEY (id);\n"
    )
    outcome = project.apply({"001_dump.sql": dump, "002_next.sql": "CREATE TABLE {{tables.u}} ()"})
    assert outcome.succeeded or outcome.failed_with("CREATE SCHEMA", "remove"), outcome.text


def test_a_table_with_the_name_of_the_history_is_explained(project: Project) -> None:
    outcome = project.apply({"001.sql": "CREATE TABLE {{schema}}.schema_migrations (version text PRIMARY KEY)"})
    assert outcome.failed_with("schema_migrations", "migrations_table"), outcome.text


def test_times_in_the_history_are_utc(project: Project) -> None:
    outcome = project.apply({"001.sql": T, "002.sql": "SET TIME ZONE 'Asia/Tokyo';\nSELECT 1;", "003.sql": "SELECT 2"})
    assert outcome.succeeded, outcome.text
    drift = "SELECT max(abs(extract(epoch FROM applied_at - (now() AT TIME ZONE 'UTC')))) FROM app.schema_migrations"
    assert project.sql(drift)[0][0] < 60


@pytest.mark.parametrize("project", ["library", "command line"], indirect=True)
def test_a_lock_on_the_history_is_waited_for_or_its_holder_named(project: Project) -> None:
    assert project.apply({"001.sql": T}).succeeded
    hold = "DO $$ BEGIN LOCK TABLE app.schema_migrations IN ACCESS EXCLUSIVE MODE; PERFORM pg_sleep(7); END $$"
    with ThreadPoolExecutor(1) as threads:
        holding = threads.submit(project.other_session, hold)
        while not project.waits_or_sleeps():
            time.sleep(0.02)
        outcome = project.apply({"002.sql": "CREATE TABLE {{tables.u}} ()"})
        holding.result()
    assert outcome.succeeded or outcome.failed_with("pid"), outcome.text


def test_an_audit_of_current_query_has_only_the_file_s_text(project: Project) -> None:
    project.sql("CREATE SCHEMA IF NOT EXISTS audit")
    project.sql("CREATE TABLE audit.log (tag text, q text)")
    project.sql(
        "CREATE FUNCTION audit.log() RETURNS event_trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO audit.log VALUES (tg_tag, current_query()); END $$"
    )
    project.sql("CREATE EVENT TRIGGER audit_log ON ddl_command_end EXECUTE FUNCTION audit.log()")
    try:
        outcome = project.apply(
            {f"{number:03}.sql": f"CREATE TABLE {{{{tables.t{number}}}}} ()" for number in range(1, 9)}
        )
        assert outcome.succeeded, outcome.text
        entries = [q for (q,) in project.sql("SELECT q FROM audit.log WHERE q LIKE '%t3%'")]
        assert entries
        assert not any("t5" in entry for entry in entries)
    finally:
        project.sql("DROP EVENT TRIGGER audit_log")
