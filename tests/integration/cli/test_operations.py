"""``pgdbm migrate drift``, ``journal``, ``mark``, ``baseline``, ``revert``, ``resolve``, ``backfill`` on a database."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest

from .project import Project

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def project(tmp_path: Path, database: str) -> Project:
    project = Project(tmp_path, database)
    project.write("users/002_more.sql", "CREATE TABLE more (id int);\n")
    project.write("users/002_more.down.sql", "DROP TABLE more;\n")
    return project


def execute(database: str, sql: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(database)
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    asyncio.run(run())


def test_what_the_history_says_is_decided(project: Project) -> None:
    done = project.json("migrate", "baseline", "001", "--no-check", "--module", "users")
    assert (done["schema"], done["baselined"], done["checked"]) == ("users", ["001_users.sql"], False)
    marked = project.json("migrate", "mark", "002_more.sql", "--module", "users")
    assert marked == {"filename": "002_more.sql", "schema": "users", "applied": True}
    assert project.json("migrate", "status", "users")["state"] == "up_to_date"
    assert project.json("migrate", "journal", "--module", "users")["items"][0]["event"] == "marked"
    project.json("migrate", "mark", "002_more.sql", "--not-applied", "--module", "users")
    assert project.json("migrate", "status", "users")["state"] == "pending"


def test_a_migration_is_reverted(project: Project) -> None:
    project.json("migrate", "apply", "users")
    reverted = project.json("migrate", "revert", "--yes", "--module", "users")["reverted"]
    assert [one["filename"] for one in reverted] == ["002_more.sql"]
    assert project.json("migrate", "status", "users")["state"] == "pending"


def test_a_file_that_ends_its_own_session_is_named(project: Project) -> None:
    project.json("migrate", "apply", "users")
    end = "SELECT 1;\nSELECT pg_terminate_backend(pg_backend_pid());\n"
    project.write("users/002_more.down.sql", end)
    for words in ("002_more.sql is not reverted", "pg_terminate_backend"):
        done = project.run("migrate", "revert", "--yes", "--module", "users")
        assert done.returncode == 1
        assert "002_more.down.sql:2:1: statement 2: " in done.stderr
        assert words in done.stderr
    project.write("users/003_end.sql", end)
    done = project.run("migrate", "rehearse", "--module", "users")
    assert done.returncode == 1
    assert "003_end.sql:2:1: statement 2: The server ended the session" in done.stdout
    assert "pg_terminate_backend" in done.stdout


@pytest.mark.parametrize(
    ("given", "code", "error"), [("", 2, "the input ended without an answer"), ("n\n", 130, ""), ("y\n", 0, "")]
)
def test_a_revert_is_confirmed(project: Project, given: str, code: int, error: str) -> None:
    project.json("migrate", "apply", "users")
    done = project.run("migrate", "revert", "--module", "users", given=given)
    assert done.returncode == code
    assert error.lower() in done.stderr.lower()
    assert project.json("migrate", "status", "users")["state"] == ("up_to_date" if code else "pending")


def test_a_misspelled_file_is_not_marked(project: Project) -> None:
    error = project.json("migrate", "mark", "02_more.sql", "--module", "users", exit_code=1)
    assert "Did you mean 002_more.sql?" in str(error)


def test_a_schema_that_does_not_exist_has_no_baseline(project: Project) -> None:
    error = project.json("migrate", "baseline", "001", "--module", "users", exit_code=1)
    assert "There is no schema 'users'" in str(error)


def test_the_owner_of_the_schema_has_changed(project: Project, database: str) -> None:
    project.json("migrate", "apply", "users")
    execute(database, "ALTER SCHEMA users OWNER TO pg_monitor")
    done = project.run("migrate", "drift", "--module", "users")
    assert "  changed   owner of the schema\n" in done.stdout


def test_drift_is_a_failure(project: Project, database: str) -> None:
    project.json("migrate", "apply", "users")
    assert project.json("migrate", "drift", "--module", "users")["clean"] is True
    execute(database, "ALTER TABLE users.users ADD COLUMN n int")
    found = project.json("migrate", "drift", "--module", "users", exit_code=1)
    assert found["changes"]


def test_an_outcome_that_is_not_unknown_is_refused(project: Project) -> None:
    error = project.json("migrate", "resolve", "001_users.sql", "1", "--done", "--module", "users", exit_code=1)
    assert "001_users.sql" in str(error)


def test_a_backfill_is_paused_and_continues(project: Project, database: str) -> None:
    project.write("users/002_more.sql", "CREATE TABLE {{tables.more}} (id int PRIMARY KEY, n int);\n")
    project.json("migrate", "apply", "users")
    project.write(
        "users/003_fill.sql",
        "-- pgdbm:backfill table={{tables.more}} key=id\n"
        "UPDATE {{tables.more}} SET n = 1 WHERE id BETWEEN $from AND $to",
    )
    (found,) = project.json("migrate", "backfill", "003_fill", "--pause", "--rate", "50", "--module", "users")["items"]
    assert (found["filename"], found["paused"], found["rate"]) == ("003_fill.sql", True, 50)
    assert project.json("migrate", "status", "users")["state"] == "backfilling"
    (found,) = project.json("migrate", "backfill", "003_fill.sql", "--resume", "--module", "users")["items"]
    assert found["paused"] is False
    project.json("migrate", "apply", "users")
    (found,) = project.json("migrate", "backfill", "--module", "users")["items"]
    assert found["ended_at"] is not None
    assert "003_fill.sql  applied" in project.run("migrate", "backfill", "--module", "users").stdout
    error = project.json("migrate", "backfill", "003_fill.sql", "--pause", "--module", "users", exit_code=1)["error"]
    assert "has ended" in error["message"]
    assert project.json("migrate", "backfill", "--pause", "--module", "users", exit_code=2)


def test_one_module_has_to_be_chosen(project: Project) -> None:
    error = project.json("migrate", "drift", exit_code=2)["error"]
    assert error["message"] == "There are several modules."
    assert "users, orders" in error["hint"]
