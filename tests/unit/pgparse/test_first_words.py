"""Statements without a parse tree are known by their first words, or not at all."""

from __future__ import annotations

import pytest

from pgdbm.pgparse.first_words import outline, recognize, traits_without_tree


@pytest.mark.parametrize(
    ("sql", "label", "locks", "blocks"),
    [
        ("REPACK", "REPACK", ["ACCESS EXCLUSIVE *"], "reads and writes"),
        ("REPACK app.t", "REPACK", ["ACCESS EXCLUSIVE app.t"], "reads and writes"),
        ('repack (verbose) "A".t USING INDEX i', "REPACK", ["ACCESS EXCLUSIVE A.t"], "reads and writes"),
        ("REPACK (ANALYZE) t (a, b)", "REPACK", ["ACCESS EXCLUSIVE t"], "reads and writes"),
        ("REPACK USING INDEX", "REPACK", ["ACCESS EXCLUSIVE *"], "reads and writes"),
        ("REPACK (CONCURRENTLY off) t", "REPACK", ["ACCESS EXCLUSIVE t"], "reads and writes"),
        ("REPACK /* t */ (CONCURRENTLY) t", "REPACK (CONCURRENTLY)", ["ACCESS EXCLUSIVE t"], "reads and writes"),
        ("WAIT FOR LSN '0/3000060' WITH (TIMEOUT '1s')", "WAIT FOR LSN", [], "nothing"),
        ("CHECKPOINT (MODE SPREAD)", "CHECKPOINT", [], "nothing"),
        (
            "INSERT INTO app.t AS x (a) VALUES (1) ON CONFLICT (a) DO SELECT FOR UPDATE RETURNING *",
            "INSERT ON CONFLICT DO SELECT",
            ["ROW EXCLUSIVE app.t", "ACCESS SHARE *"],
            "nothing",
        ),
        (
            "ALTER TABLE IF EXISTS app.t MERGE PARTITIONS (app.a, b) INTO c",
            "ALTER TABLE MERGE PARTITIONS",
            ["ACCESS EXCLUSIVE app.t", "ACCESS EXCLUSIVE app.a", "ACCESS EXCLUSIVE b", "ACCESS EXCLUSIVE *"],
            "reads and writes",
        ),
        (
            "ALTER TABLE t SPLIT PARTITION a INTO (PARTITION b FOR VALUES IN (1))",
            "ALTER TABLE SPLIT PARTITION",
            ["ACCESS EXCLUSIVE t", "ACCESS EXCLUSIVE a", "ACCESS EXCLUSIVE *"],
            "reads and writes",
        ),
        (
            "UPDATE ONLY t FOR PORTION OF valid FROM a TO b SET x = 1",
            "UPDATE FOR PORTION OF",
            ["ROW EXCLUSIVE t", "ACCESS SHARE *"],
            "nothing",
        ),
        (
            "DELETE FROM t FOR PORTION OF valid FROM a TO b",
            "DELETE FOR PORTION OF",
            ["ROW EXCLUSIVE t", "ACCESS SHARE *"],
            "nothing",
        ),
        ("SELECT a, count(*) FROM t GROUP BY ALL", "SELECT", ["ACCESS SHARE *"], "nothing"),
        ("SELECT * FROM GRAPH_TABLE (g MATCH (a) COLUMNS (a.x))", "SELECT", ["ACCESS SHARE *"], "nothing"),
        ("DROP PROPERTY GRAPH g", "DROP PROPERTY GRAPH", ["ACCESS EXCLUSIVE g"], "reads and writes"),
        ("CREATE PROPERTY GRAPH g VERTEX TABLES (t)", "CREATE PROPERTY GRAPH", [], "unknown"),
    ],
)
def test_commands_that_are_known(sql: str, label: str, locks: list[str], blocks: str) -> None:
    found = recognize(sql)
    assert found is not None
    assert (found.label, [f"{one.mode.sql} {one.relation or '*'}" for one in found.locks]) == (label, locks)
    assert found.blocks == blocks


@pytest.mark.parametrize(
    "sql",
    [
        "FROBNICATE t",
        "",
        "-- REPACK t",
        "'REPACK' t",
        "SELECT 'group by all'",
        "SELECT (SELECT 1 GROUP BY ALL)",
        "INSERT INTO t VALUES ('on conflict do select')",
        "ALTER TABLE t FROBNICATE PARTITION a",
        "WAIT t",
        "WITH a AS (SELECT 1) FROBNICATE",
    ],
)
def test_nothing_is_guessed_about_others(sql: str) -> None:
    assert recognize(sql) is None


@pytest.mark.parametrize(
    ("sql", "command"),
    [
        ("REPACK (CONCURRENTLY) t", "REPACK (CONCURRENTLY)"),
        ("REPACK", "REPACK without a table"),
        ("REPACK (VERBOSE) USING INDEX", "REPACK without a table"),
        ("VACUUM (FROBNICATE) t", "VACUUM"),
        ("CREATE UNIQUE INDEX CONCURRENTLY i ON t (a) FROBNICATE", "CREATE INDEX CONCURRENTLY"),
        ("DROP INDEX CONCURRENTLY i FROBNICATE", "DROP INDEX CONCURRENTLY"),
        ("REINDEX (CONCURRENTLY) TABLE t FROBNICATE", "REINDEX CONCURRENTLY"),
        ("REINDEX TABLE CONCURRENTLY t FROBNICATE", "REINDEX CONCURRENTLY"),
        ("CREATE DATABASE d FROBNICATE", "CREATE DATABASE"),
        ("ALTER SYSTEM FROBNICATE", "ALTER SYSTEM"),
    ],
)
def test_commands_that_cannot_run_in_a_transaction(sql: str, command: str) -> None:
    assert traits_without_tree(sql).non_transactional == command
    assert f"{command} cannot run inside a transaction" in str(traits_without_tree(sql).refusal(transactional=True))


@pytest.mark.parametrize("sql", ["REPACK t", "WAIT FOR LSN '0/0'", "REINDEX (FROBNICATE) TABLE t", "CLUSTER (A) t"])
def test_commands_that_run_outside_one_where_the_file_has_none(sql: str) -> None:
    traits = traits_without_tree(sql)
    assert (traits.non_transactional, traits.may_refuse_transaction, traits.idempotent) == (None, True, True)


@pytest.mark.parametrize(
    ("sql", "controls"),
    [
        ("BEGIN FROBNICATE", True),
        ("/* x */ Start Transaction FROBNICATE", True),
        ("COMMIT AND FROBNICATE", True),
        ("END FROBNICATE", True),
        ("ABORT FROBNICATE", True),
        ("ROLLBACK AND FROBNICATE", True),
        ("PREPARE TRANSACTION FROBNICATE", True),
        ("ROLLBACK TO SAVEPOINT a FROBNICATE", False),
        ("PREPARE a AS FROBNICATE", False),
        ('"commit" FROBNICATE', False),
    ],
)
def test_transaction_control(sql: str, controls: bool) -> None:
    assert traits_without_tree(sql).controls_transaction is controls


def test_what_no_file_may_contain() -> None:
    assert traits_without_tree("DISCARD ALL FROBNICATE").refusal(transactional=False) is not None
    assert traits_without_tree("COPY t TO STDOUT JSON").copies_to_client
    assert traits_without_tree("COPY t FROM STDIN FROBNICATE").copies_from_client


def test_an_opaque_statement_may_leave_anything_in_the_session() -> None:
    for sql in ("REPACK t", "FROBNICATE", "CHECKPOINT (MODE FAST)", "COMMIT"):
        traits = traits_without_tree(sql)
        assert (traits.is_opaque, traits.changes_session, traits.batchable) == (True, True, False)


def test_an_outline_has_brackets_as_one_part() -> None:
    assert outline("A (b, (C)) \"D\" -- e\n[1] 'f'") == ["a", ("b", ",", "(", "c", ")"), '"D"', ("1",), "'f'"]
    assert outline("a ) b (c") == ["a", ")", "b"]
