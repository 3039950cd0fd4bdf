"""The traits of each kind of statement."""

from __future__ import annotations

import pytest

from pgdbm.pgparse.traits import UNKNOWN, Traits, traits_of

from .trees import one


def of(sql: str) -> Traits:
    return traits_of(*one(sql))


@pytest.mark.parametrize(
    ("sql", "command"),
    [
        ("CREATE INDEX CONCURRENTLY i ON t (a)", "CREATE INDEX CONCURRENTLY"),
        ("CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)", "CREATE INDEX CONCURRENTLY"),
        ("DROP INDEX CONCURRENTLY i", "DROP INDEX CONCURRENTLY"),
        ("REINDEX TABLE CONCURRENTLY t", "REINDEX CONCURRENTLY"),
        ("REINDEX (CONCURRENTLY) INDEX i", "REINDEX CONCURRENTLY"),
        ("REINDEX (CONCURRENTLY on) INDEX i", "REINDEX CONCURRENTLY"),
        ("REINDEX SCHEMA s", "REINDEX SCHEMA"),
        ("REINDEX DATABASE d", "REINDEX DATABASE"),
        ("REINDEX SYSTEM d", "REINDEX SYSTEM"),
        ("VACUUM", "VACUUM"),
        ("VACUUM (FULL) t", "VACUUM"),
        ("VACUUM ANALYZE t", "VACUUM"),
        ("CLUSTER", "CLUSTER without a table"),
        ("ALTER DATABASE d SET TABLESPACE s", "ALTER DATABASE … SET TABLESPACE"),
        ("ALTER TABLE t DETACH PARTITION p CONCURRENTLY", "ALTER TABLE … DETACH PARTITION CONCURRENTLY"),
        ("CREATE SUBSCRIPTION s CONNECTION 'c' PUBLICATION p", "CREATE SUBSCRIPTION with a slot"),
        (
            "CREATE SUBSCRIPTION s CONNECTION 'c' PUBLICATION p WITH (create_slot = on, connect = off)",
            "CREATE SUBSCRIPTION with a slot",
        ),
        ("ALTER SUBSCRIPTION s REFRESH PUBLICATION", "ALTER SUBSCRIPTION … REFRESH PUBLICATION"),
        ("ALTER SUBSCRIPTION s SET PUBLICATION p", "ALTER SUBSCRIPTION … PUBLICATION with a refresh"),
        ("ALTER SUBSCRIPTION s ADD PUBLICATION p", "ALTER SUBSCRIPTION … PUBLICATION with a refresh"),
        ("CREATE DATABASE d", "CREATE DATABASE"),
        ("DROP DATABASE d", "DROP DATABASE"),
        ("CREATE TABLESPACE s LOCATION '/s'", "CREATE TABLESPACE"),
        ("DROP TABLESPACE s", "DROP TABLESPACE"),
        ("ALTER SYSTEM SET work_mem = '1MB'", "ALTER SYSTEM"),
    ],
)
def test_what_cannot_run_in_a_transaction_block_is_named(sql: str, command: str) -> None:
    traits = of(sql)
    assert traits.non_transactional == command
    assert not traits.batchable
    refusal = traits.refusal(transactional=True)
    assert refusal is not None
    assert refusal.reason == f"{command} cannot run inside a transaction"
    assert "-- pgdbm:no-transaction" in refusal.hint
    assert traits.refusal(transactional=False) is None


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE INDEX i ON t (a)",
        "DROP INDEX i",
        "REINDEX TABLE t",
        "REINDEX (CONCURRENTLY off) INDEX i",
        "ANALYZE",
        "ANALYZE t",
        "CLUSTER t USING i",
        "ALTER DATABASE d SET work_mem = '1MB'",
        "ALTER DATABASE d CONNECTION LIMIT 5",
        "ALTER TABLE t DETACH PARTITION p",
        "ALTER TABLE t DETACH PARTITION p FINALIZE",
        "CREATE SUBSCRIPTION s CONNECTION 'c' PUBLICATION p WITH (create_slot = false)",
        "CREATE SUBSCRIPTION s CONNECTION 'c' PUBLICATION p WITH (connect = false)",
        "DISCARD PLANS",
        "REFRESH MATERIALIZED VIEW CONCURRENTLY v",
        "ALTER TYPE e ADD VALUE 'x'",
    ],
)
def test_what_may_run_in_a_transaction_block_is_not_refused(sql: str) -> None:
    traits = of(sql)
    assert traits.non_transactional is None
    assert traits.refusal(transactional=True) is None


@pytest.mark.parametrize(
    "sql",
    [
        "BEGIN",
        "START TRANSACTION",
        "COMMIT",
        "END",
        "ROLLBACK",
        "ABORT",
        "COMMIT AND CHAIN",
        "PREPARE TRANSACTION 'x'",
        "COMMIT PREPARED 'x'",
        "ROLLBACK PREPARED 'x'",
    ],
)
def test_transaction_control_is_refused_in_a_transactional_file(sql: str) -> None:
    traits = of(sql)
    assert traits.controls_transaction
    assert "the engine begins and commits" in str(traits.refusal(transactional=True))


@pytest.mark.parametrize("sql", ["SAVEPOINT s", "RELEASE s", "ROLLBACK TO SAVEPOINT s"])
def test_savepoints_are_not_transaction_control(sql: str) -> None:
    assert not of(sql).controls_transaction
    assert of(sql).refusal(transactional=True) is None


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("COPY t FROM STDIN", "has no rows"),
        ("COPY t TO STDOUT", "sends rows to the client"),
        ("COPY (SELECT 1) TO STDOUT WITH (FORMAT csv)", "sends rows to the client"),
        ("COPY t FROM '/srv/t.csv'", None),
        ("COPY t TO '/srv/t.csv'", None),
        ("COPY t FROM PROGRAM 'cat /srv/t.csv'", None),
    ],
)
def test_copy_is_refused_where_the_client_would_have_to_send_or_read_rows(sql: str, says: str | None) -> None:
    for transactional in (True, False):
        refusal = of(sql).refusal(transactional)
        assert refusal is None if says is None else says in str(refusal)


@pytest.mark.parametrize("transactional", [True, False])
def test_copy_runs_with_its_rows_in_the_file_only(transactional: bool) -> None:
    copy = of("COPY t FROM STDIN")
    assert copy.refusal(transactional, has_copy_data=True) is None
    assert "no rows" in str(copy.refusal(transactional))


@pytest.mark.parametrize(
    ("sql", "creates"),
    [
        ("CREATE TABLE t (a int)", ("t",)),
        ("CREATE TABLE s.t (a int)", ("s.t",)),
        ('CREATE TABLE "S"."a b" (a int)', ("S.a b",)),
        ("CREATE TABLE IF NOT EXISTS t (a int)", ()),
        ("CREATE TABLE t PARTITION OF p FOR VALUES IN (1)", ()),
        ("CREATE VIEW v AS SELECT 1", ()),
    ],
)
def test_only_a_table_that_is_certainly_new_counts_as_created(sql: str, creates: tuple[str, ...]) -> None:
    assert of(sql).creates == creates


@pytest.mark.parametrize(
    ("sql", "table"),
    [
        ("CREATE INDEX i ON t (a)", "t"),
        ("CREATE INDEX i ON s.t (a)", "s.t"),
        ("ALTER TABLE t ADD COLUMN b int", "t"),
        ("ALTER TABLE s.t ALTER COLUMN a TYPE text", "s.t"),
    ],
)
def test_statements_that_read_a_table_are_batchable_if_it_is_new(sql: str, table: str) -> None:
    assert of(sql).batchable_on == table
    assert not of(sql).batchable


@pytest.mark.parametrize(
    ("sql", "batchable"),
    [
        ("CREATE TABLE t (a int)", True),
        ("CREATE TABLE IF NOT EXISTS t (a int)", True),
        ("CREATE TABLE t PARTITION OF p DEFAULT", False),
        ("CREATE TABLE t AS SELECT 1", False),
        ("CREATE TYPE e AS ENUM ('a')", True),
        ("CREATE DOMAIN d AS int", True),
        ("CREATE VIEW v AS SELECT 1", True),
        ("CREATE MATERIALIZED VIEW v AS SELECT 1", False),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", True),
        ("CREATE SEQUENCE s", True),
        ("CREATE SCHEMA s", True),
        ("COMMENT ON TABLE t IS 'x'", True),
        ("GRANT SELECT ON t TO r", True),
        ("DROP TABLE t", True),
        ("INSERT INTO t VALUES (1), (2)", True),
        ("INSERT INTO t SELECT * FROM u", False),
        ("UPDATE t SET a = 1", False),
        ("DELETE FROM t", False),
        ("TRUNCATE t", False),
        ("SELECT 1", False),
        ("DO $$ BEGIN END $$", False),
        ("REFRESH MATERIALIZED VIEW v", False),
    ],
)
def test_a_statement_is_batchable_if_running_it_twice_is_cheap(sql: str, batchable: bool) -> None:
    assert of(sql).batchable is batchable


@pytest.mark.parametrize(
    ("sql", "changes"),
    [
        ("SET search_path = x", True),
        ("SET SESSION work_mem = '1MB'", True),
        ("RESET ALL", True),
        ("SET LOCAL work_mem = '1MB'", False),
        ("DISCARD PLANS", True),
        ("SELECT set_config('search_path', 'x', false)", True),
        ("SET LOCAL ROLE r", True),
        ("DO $$ BEGIN END $$", True),
        ("CALL p()", True),
        ("PREPARE p AS SELECT 1", True),
        ("LISTEN c", True),
        # Functions and triggers may change settings.
        ("UPDATE t SET a = 1", True),
        ("INSERT INTO t VALUES (f())", True),
        ("INSERT INTO t VALUES (1, 'a', DEFAULT)", False),
        ("CREATE TABLE t (a int)", False),
        ("CREATE INDEX ON t (a)", False),
        ("DROP TABLE t", False),
    ],
)
def test_what_may_leave_something_behind_in_the_session(sql: str, changes: bool) -> None:
    assert of(sql).changes_session is changes


@pytest.mark.parametrize(
    ("sql", "idempotent"),
    [
        ("DROP INDEX CONCURRENTLY IF EXISTS i", True),
        ("DROP INDEX CONCURRENTLY i", False),
        ("REINDEX INDEX CONCURRENTLY i", True),
        ("REINDEX SCHEMA s", True),
        ("VACUUM t", True),
        ("CLUSTER", True),
        ("ALTER SYSTEM SET work_mem = '1MB'", True),
        ("CREATE INDEX CONCURRENTLY i ON t (a)", False),
        ("CREATE DATABASE d", False),
    ],
)
def test_what_can_run_again_when_its_outcome_is_unknown(sql: str, idempotent: bool) -> None:
    assert of(sql).idempotent is idempotent


@pytest.mark.parametrize(
    ("sql", "target"),
    [
        ("CREATE INDEX CONCURRENTLY i ON s.t (a)", ("s", "t", "i")),
        ("CREATE INDEX CONCURRENTLY ON t (a)", (None, "t", None)),
        ("DROP INDEX CONCURRENTLY s.i", ('"s"."i"',)),
        ('DROP INDEX CONCURRENTLY "we ""ird"', ('"we ""ird"',)),
        ("ALTER TABLE s.t DETACH PARTITION p CONCURRENTLY", ('"s"."t"', '"p"')),
        ("REINDEX TABLE CONCURRENTLY s.t", ('"s"."t"', None)),
        ("REINDEX (CONCURRENTLY) SCHEMA s", (None, "s")),
        ("CREATE DATABASE d", ("d",)),
        ("DROP DATABASE d", ("d",)),
    ],
)
def test_the_names_by_which_the_catalog_shows_that_it_took_effect(sql: str, target: tuple[str | None, ...]) -> None:
    assert of(sql).target == target


def test_a_text_that_cannot_be_parsed_is_trusted_with_nothing() -> None:
    assert UNKNOWN.changes_session
    assert not UNKNOWN.batchable
    assert UNKNOWN.refusal(transactional=True) is None


@pytest.mark.parametrize(
    ("sql", "idempotent"),
    [
        ("REINDEX TABLE t", True),
        ("REINDEX INDEX i", True),
        ("CLUSTER t", True),
        ("ALTER SUBSCRIPTION s SET (two_phase = true)", True),
        ("DROP SUBSCRIPTION IF EXISTS s", True),
        ("DROP SUBSCRIPTION s", False),
    ],
)
def test_what_only_the_catalog_shows_runs_in_both_kinds_of_files(sql: str, idempotent: bool) -> None:
    traits = of(sql)
    assert (traits.may_refuse_transaction, traits.idempotent) == (True, idempotent)
    assert traits.refusal(transactional=True) is None
    assert traits.refusal(transactional=False) is None


@pytest.mark.parametrize(
    "sql", ["ALTER SUBSCRIPTION s DISABLE", "ALTER SUBSCRIPTION s SET PUBLICATION p WITH (refresh = off)"]
)
def test_a_subscription_that_is_not_refreshed_runs_in_a_transaction(sql: str) -> None:
    assert of(sql) == Traits("alter_subscription_stmt")
