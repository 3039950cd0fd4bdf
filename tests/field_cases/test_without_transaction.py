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


ROWS = "COPY {{tables.t}} FROM stdin;\n1\n2\n\\.\n"


def test_rows_are_copied(project: Project) -> None:
    text = f"{HEAD}{T}\n{ROWS}CREATE INDEX CONCURRENTLY t_id ON {{{{tables.t}}}} (id);\n{ROWS}"
    outcome = project.apply({"001.sql": text})
    assert outcome.succeeded, outcome.text
    assert project.sql("SELECT count(*) FROM app.t") == [(4,)]


def test_rows_are_copied_once_whatever_fails_after_them(project: Project) -> None:
    after = "INSERT INTO {{tables.t}} SELECT count(*) FROM {{tables.missing}};\n"
    text = f"{HEAD}{T}\n{ROWS}BEGIN;\n{ROWS}DELETE FROM {{{{tables.t}}}} WHERE id = 1;\n{ROWS}{after}COMMIT;\n"
    first = project.apply({"001.sql": text})
    assert first.failed_with("missing", f"001.sql:{text[: text.index('INSERT')].count(chr(10)) + 1}:"), first.text
    assert project.sql("SELECT count(*) FROM app.t") == [(2,)]
    project.sql("CREATE TABLE app.missing ()")
    outcome = project.apply()
    assert outcome.succeeded, outcome.text
    assert project.sql("SELECT id, count(*)::int FROM app.t GROUP BY id ORDER BY id") == [(0, 1), (1, 1), (2, 3)]


def test_copied_rows_must_not_change_before_the_rest_is_applied(project: Project) -> None:
    text = f"{HEAD}{T}\n{ROWS}SELECT 1 / 0;\n"
    assert not project.apply({"001.sql": text}).succeeded
    outcome = project.apply({"001.sql": text.replace("\n2\n", "\n3\n").replace("1 / 0", "1")})
    assert outcome.failed_with("statement 2", "changed in the file")
    assert project.apply({"001.sql": text.replace("1 / 0", "1")}).succeeded
    assert project.sql("SELECT id FROM app.t ORDER BY id") == [(1,), (2,)]


def test_a_row_that_the_server_rejects_has_its_line(project: Project) -> None:
    text = f"{HEAD}{T}\n{ROWS.replace('2', 'two')}"
    assert project.apply({"001.sql": text}).failed_with("001.sql:5:1", "two")
    assert project.sql("SELECT count(*) FROM app.t") == [(0,)]


BLOCKS = (
    f"BEGIN;\n{T}\nINSERT INTO {{{{tables.t}}}} VALUES (1);\nCOMMIT;\n\n"
    "START TRANSACTION ISOLATION LEVEL SERIALIZABLE;\nINSERT INTO {{tables.t}} VALUES (2);\n"
    "INSERT INTO {{tables.t}} SELECT 1 FROM {{tables.missing}};\nEND;\n\nbegin;\nINSERT INTO {{tables.t}} VALUES (3);\n"
    "commit;\n"
)


def test_several_transactions_of_a_file_are_each_applied_once(project: Project) -> None:
    first = project.apply({"001.sql": BLOCKS})
    assert first.failed_with("001.sql:8:", "missing"), first.text
    assert project.sql("SELECT id FROM app.t") == [(1,)]
    project.sql("CREATE TABLE app.missing ()")
    outcome = project.apply()
    assert outcome.succeeded, outcome.text
    assert project.sql("SELECT id FROM app.t ORDER BY id") == [(1,), (2,), (3,)]
    assert project.apply().succeeded
    assert project.sql("SELECT count(*) FROM app.t") == [(3,)]


def test_statements_between_the_transactions_of_a_file_run_as_in_psql(project: Project) -> None:
    text = (
        f"BEGIN;\n{T}\nCOMMIT;\nCREATE INDEX CONCURRENTLY t_id ON {{{{tables.t}}}} (id);\n"
        "BEGIN;\nSAVEPOINT a;\nINSERT INTO {{tables.t}} VALUES (1);\nROLLBACK TO a;\nCOMMIT;\n"
    )
    outcome = project.apply({"001.sql": text})
    assert outcome.succeeded, outcome.text
    assert project.sql("SELECT count(*) FROM app.t") == [(0,)]
    assert project.sql("SELECT indisvalid FROM pg_index WHERE indexrelid = 'app.t_id'::regclass") == [(True,)]


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ("BEGIN;\nSELECT 1;\nROLLBACK;\n", ("001.sql:6:1", "never executed twice", "COMMIT")),
        ("BEGIN;\nSELECT 1;\nCOMMIT AND CHAIN;\nCOMMIT;\n", ("001.sql:6:1", "never executed twice", "COMMIT")),
        ("BEGIN;\nSELECT 1;\nPREPARE TRANSACTION 'a';\n", ("001.sql:6:1", "never executed twice", "COMMIT")),
        ("BEGIN;\nSELECT 1;\n", ("001.sql:4:1", "Write COMMIT")),
        ("BEGIN;\nBEGIN;\nCOMMIT;\n", ("001.sql:4:1", "Write COMMIT")),
        ("BEGIN;\nVACUUM {{tables.t}};\nCOMMIT;\n", ("001.sql:5:1", "between the transactions")),
    ],
)
def test_transactions_that_leave_no_record_are_refused_before_anything_runs(
    project: Project, second: str, words: tuple[str, ...]
) -> None:
    outcome = project.apply({"001.sql": f"BEGIN;\n{T}\nCOMMIT;\n{second}"})
    assert outcome.failed_with(*words), outcome.text
    assert not project.exists("app.t")


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


ENUM = "CREATE TYPE {{schema}}.mood AS ENUM ('sad'); CREATE TABLE {{tables.p}} (name text, mood {{schema}}.mood);"
ADD = "ALTER TYPE {{schema}}.mood ADD VALUE 'calm';\n"


@pytest.mark.parametrize(
    "use",
    [
        "INSERT INTO {{tables.p}} VALUES ('calm', 'calm')",
        "UPDATE {{tables.p}} SET mood = 'calm'",
        "DELETE FROM {{tables.p}}\nWHERE mood = 'calm'",
        "SELECT 'calm'::{{schema}}.mood",
        "ALTER TABLE {{tables.p}} ADD m {{schema}}.mood DEFAULT 'calm'",
        "CREATE TABLE {{tables.q}} (m {{schema}}.mood CHECK (m = 'calm'))",
        "CREATE INDEX p_calm ON {{tables.p}} (name) WHERE mood = 'calm'::{{schema}}.mood",
    ],
)
def test_a_value_of_an_enum_that_its_transaction_uses_is_refused_first(project: Project, use: str) -> None:
    assert project.apply({"001.sql": ENUM}).succeeded
    outcome = project.apply({"002.sql": T, "003.sql": f"{ADD}\n{use};\n"})
    assert outcome.failed_with("003.sql:", "'calm'", "a file of its own"), outcome.text
    assert not outcome.failed_with("SQLSTATE")
    assert not project.exists("app.t")
    assert project.apply({"003.sql": ADD, "004.sql": f"{use};\n"}).succeeded


@pytest.mark.parametrize(
    "use",
    [
        "INSERT INTO {{tables.p}} (name) VALUES ('calm')",
        "COMMENT ON TABLE {{tables.p}} IS 'calm'",
        "CREATE TABLE {{tables.q}} (word text DEFAULT 'calm')",
        "INSERT INTO {{tables.p}} VALUES ('calm', 'sad')",
    ],
)
def test_the_same_text_without_the_enum_is_no_use(project: Project, use: str) -> None:
    assert project.apply({"001.sql": ENUM, "002.sql": f"{ADD}{use};\n"}).succeeded


def test_a_value_that_the_enum_has_already_is_used(project: Project) -> None:
    again = ADD.replace("ADD VALUE", "ADD VALUE IF NOT EXISTS") + "INSERT INTO {{tables.p}} VALUES ('a', 'calm');\n"
    assert project.apply({"001.sql": ENUM, "002.sql": ADD, "003.sql": again}).succeeded
    assert project.apply({"004.sql": again}).succeeded


def test_a_use_that_only_the_server_finds_says_what_to_do(project: Project) -> None:
    text = ENUM.split("; ")[1] + f"\n{ADD}INSERT INTO {{{{tables.p}}}} VALUES ('a', 'calm');\n"
    outcome = project.apply({"001.sql": ENUM.split(";")[0], "002.sql": text})
    assert outcome.failed_with("002.sql:3:", "55P04", "a file of its own"), outcome.text


@pytest.mark.parametrize(
    "read_only",
    [
        "SET default_transaction_read_only = on;",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY;",
        "SELECT set_config('default_transaction_read_only', 'on', false);",
    ],
)
def test_a_session_that_a_file_makes_read_only_ends_with_it(project: Project, read_only: str) -> None:
    head = "-- pgdbm:no-transaction\nCREATE TABLE t ();\n"
    outcome = project.apply({"001.sql": head + read_only, "002.sql": "CREATE TABLE u ();"})
    assert outcome.succeeded, outcome.text
    assert project.exists("app.u")


@pytest.mark.parametrize(
    "content",
    ["CREATE TABLE t ();\nSET TRANSACTION READ ONLY;", "BEGIN READ ONLY;\nSELECT 1;\nCOMMIT;"],
)
def test_a_read_only_transaction_is_explained(project: Project, content: str) -> None:
    outcome = project.apply({"001.sql": content})
    assert outcome.failed_with("001.sql", "remove READ ONLY"), outcome.text


def test_a_transaction_is_prepared_and_committed(project: Project) -> None:
    outcome = project.apply(
        {"001.sql": "-- pgdbm:no-transaction\nBEGIN;\nSELECT 1;\nPREPARE TRANSACTION 'one';\nCOMMIT PREPARED 'one';"}
    )
    # The test server allows none.
    assert outcome.failed_with("prepared transactions are disabled"), outcome.text
