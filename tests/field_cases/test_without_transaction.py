"""Files with the line ``-- pgdbm:no-transaction``, and statements that need it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Project

HEAD = "-- pgdbm:no-transaction\n"
T = "CREATE TABLE {{tables.t}} (id int);"


def test_begin_and_commit_inside_are_resumed_as_a_whole_or_refused(project: Project) -> None:
    def index(open_: str, close: str) -> str:
        return (
            f"{HEAD}{open_}INSERT INTO {{{{tables.t}}}} VALUES (1);\n"
            f"INSERT INTO {{{{tables.t}}}} SELECT count(*) FROM {{{{tables.missing}}}};\n{close}"
            "CREATE INDEX CONCURRENTLY t_id ON {{tables.t}} (id);\n"
        )

    first = project.apply({"001.sql": T, "002.sql": index("BEGIN;\n", "COMMIT;\n")})
    assert not first.succeeded
    project.sql("CREATE TABLE app.missing ()")
    outcome = project.apply()
    if not outcome.succeeded:
        assert outcome.failed_with("BEGIN"), outcome.text
        outcome = project.apply({"002.sql": index("", "")})
    assert outcome.succeeded, outcome.text
    assert project.sql("SELECT count(*) FROM app.t") == [(2,)]


@pytest.mark.parametrize("head", ["", HEAD])
@pytest.mark.parametrize("statement", ["REINDEX TABLE {{tables.p}}", "REINDEX INDEX {{schema}}.p_k"])
def test_reindexing_a_partitioned_table_runs(project: Project, statement: str, head: str) -> None:
    setup = (
        "CREATE TABLE {{tables.p}} (id int, k int) PARTITION BY RANGE (id); "
        "CREATE TABLE {{tables.p1}} PARTITION OF {{tables.p}} FOR VALUES FROM (1) TO (9); "
        "CREATE INDEX p_k ON {{tables.p}} (k)"
    )
    outcome = project.apply({"001.sql": setup, "002.sql": head + statement})
    assert outcome.succeeded if head else outcome.succeeded or outcome.failed_with("-- pgdbm:no-transaction")


def test_discard_all_inside_runs_or_is_refused_before_anything_runs(project: Project) -> None:
    text = f"{HEAD}INSERT INTO {{{{tables.t}}}} VALUES (1);\nDISCARD ALL;\nINSERT INTO {{{{tables.t}}}} VALUES (2);\n"
    outcome = project.apply({"001.sql": T, "002.sql": text})
    rows = project.sql("SELECT count(*) FROM app.t") if project.exists("app.t") else [(0,)]
    assert (outcome.succeeded and rows == [(2,)]) or (outcome.failed_with("DISCARD") and rows == [(0,)]), outcome.text


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE INDEX CONCURRENTLY t_id ON {{tables.t}} (id)",
        "VACUUM {{tables.t}}",
        "ALTER SYSTEM SET log_min_messages = warning",
    ],
)
def test_a_statement_that_needs_the_marker_names_it(project: Project, statement: str) -> None:
    assert project.apply({"001.sql": T, "002.sql": statement}).failed_with("002.sql:1:1", "-- pgdbm:no-transaction")


def test_a_procedure_that_commits_runs_or_names_the_marker(project: Project) -> None:
    procedure = (
        f"{T} CREATE PROCEDURE {{{{schema}}}}.p() LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO app.t VALUES (1); COMMIT; END $$"
    )
    outcome = project.apply({"001.sql": procedure, "002.sql": "CALL {{schema}}.p()"})
    assert outcome.succeeded or outcome.failed_with("-- pgdbm:no-transaction"), outcome.text
    assert project.apply({"002.sql": HEAD + "CALL {{schema}}.p()"}).succeeded
