"""The locks of a statement by its text; `tests/integration/lint/test_lock_levels.py` compares them with a server's."""

from __future__ import annotations

import pytest

from pgdbm.pgparse.lock_levels import OPAQUE, LockMode, blocks_of, locks_of

from .trees import one

AS, RS, RX = LockMode.ACCESS_SHARE, LockMode.ROW_SHARE, LockMode.ROW_EXCLUSIVE
SUX, S, SRX = LockMode.SHARE_UPDATE_EXCLUSIVE, LockMode.SHARE, LockMode.SHARE_ROW_EXCLUSIVE
X, AX = LockMode.EXCLUSIVE, LockMode.ACCESS_EXCLUSIVE


def locks(sql: str, version: int = 18) -> dict[str | None, LockMode]:
    return {lock.relation: lock.mode for lock in locks_of(*one(sql), version)}


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT * FROM a", {"a": AS}),
        ("SELECT * FROM a, s.b FOR UPDATE", {"a": RS, "s.b": RS}),
        ("SELECT * FROM a JOIN b USING (x) FOR SHARE OF b", {"a": AS, "b": RS}),
        ("INSERT INTO a SELECT * FROM b", {"a": RX, "b": AS}),
        ("UPDATE a SET x = (SELECT 1 FROM b)", {"a": RX, "b": AS}),
        ("DELETE FROM a USING b", {"a": RX, "b": AS}),
        ("MERGE INTO a USING b ON a.x = b.x WHEN MATCHED THEN DELETE", {"a": RX, "b": AS}),
        ("COPY a FROM '/f'", {"a": RX}),
        ("COPY a TO '/f'", {"a": AS}),
        ("COPY (SELECT * FROM b) TO '/f'", {"b": AS}),
        ("TRUNCATE a, b", {"a": AX, "b": AX}),
        ("TRUNCATE a CASCADE", {"a": AX, None: AX}),
        ("LOCK TABLE a IN EXCLUSIVE MODE", {"a": X}),
        ("LOCK TABLE a, b", {"a": AX, "b": AX}),
    ],
)
def test_queries_and_changes_of_rows(sql: str, expected: dict[str | None, LockMode]) -> None:
    assert locks(sql) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("ADD COLUMN b int", {"t": AX}),
        ("ADD COLUMN b int REFERENCES o", {"t": AX, "o": SRX}),
        ("DROP COLUMN b", {"t": AX, None: AX}),
        ("ALTER COLUMN b TYPE text", {"t": AX, None: AX}),
        ("ALTER COLUMN b SET NOT NULL", {"t": AX}),
        ("ALTER COLUMN b SET STATISTICS 10", {"t": SUX}),
        ("ALTER COLUMN b SET (n_distinct = 5)", {"t": SUX}),
        ("ADD CHECK (b > 0)", {"t": AX}),
        ("ADD CHECK (b > 0) NOT VALID", {"t": AX}),
        ("ADD FOREIGN KEY (b) REFERENCES s.o", {"t": SRX, "s.o": SRX}),
        ("ADD UNIQUE USING INDEX i", {"t": AX}),
        ("VALIDATE CONSTRAINT c", {"t": SUX, None: RS}),
        ("DROP CONSTRAINT c", {"t": AX, None: AX}),
        ("DISABLE TRIGGER ALL", {"t": SRX}),
        ("ENABLE ALWAYS TRIGGER g", {"t": SRX}),
        ("CLUSTER ON i", {"t": SUX}),
        ("SET WITHOUT CLUSTER", {"t": SUX}),
        ("SET (fillfactor = 70)", {"t": SUX}),
        ("SET (autovacuum_enabled = false, fillfactor = 70)", {"t": SUX}),
        ("SET (user_catalog_table = true)", {"t": AX}),
        ("SET (fillfactor = 70, user_catalog_table = true)", {"t": AX}),
        ("RESET (fillfactor)", {"t": SUX}),
        ("ATTACH PARTITION p FOR VALUES IN (1)", {"t": SUX, "p": AX, None: AX}),
        ("DETACH PARTITION p", {"t": AX, "p": AX, None: AX}),
        ("DETACH PARTITION p CONCURRENTLY", {"t": SUX, "p": AX, None: AX}),
        ("INHERIT p", {"t": AX, "p": SUX}),
        ("NO INHERIT p", {"t": AX, "p": AS}),
        ("OWNER TO r", {"t": AX}),
        ("ALTER COLUMN b SET STATISTICS 10, ADD COLUMN c int", {"t": AX}),
    ],
)
def test_alter_table_takes_the_strongest_lock_of_its_subcommands(
    change: str, expected: dict[str | None, LockMode]
) -> None:
    assert locks(f"ALTER TABLE t {change}") == expected


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("CREATE TABLE t (a int)", {}),
        ("CREATE TABLE t (a int REFERENCES o)", {"o": SRX}),
        ("CREATE TABLE t (a int REFERENCES t)", {}),
        ("CREATE TABLE t (a int, FOREIGN KEY (a) REFERENCES s.o)", {"s.o": SRX}),
        ("CREATE TABLE t (LIKE o)", {"o": AS}),
        ("CREATE TABLE t () INHERITS (o)", {"o": SUX}),
        ("CREATE TABLE t PARTITION OF o FOR VALUES IN (1)", {"o": AX, None: AX}),
        ("CREATE TABLE t AS SELECT * FROM o", {"o": AS}),
        ("SELECT * INTO t FROM o", {"o": AS}),
        ("CREATE SCHEMA s CREATE TABLE t (a int REFERENCES o)", {"o": SRX}),
        ("CREATE INDEX i ON t (a)", {"t": S}),
        ("CREATE INDEX CONCURRENTLY i ON t (a)", {"t": SUX}),
        ("CREATE VIEW v AS SELECT * FROM t", {"t": AS}),
        ("CREATE OR REPLACE VIEW v AS SELECT * FROM t", {"v": AX, "t": AS}),
        ("CREATE TRIGGER g AFTER INSERT ON t EXECUTE FUNCTION f()", {"t": SRX}),
        ("CREATE RULE r AS ON INSERT TO t DO INSTEAD INSERT INTO o VALUES (1)", {"t": AX, "o": RX}),
        ("CREATE POLICY p ON t USING (a IN (SELECT a FROM o))", {"t": AX, "o": AS}),
        ("CREATE STATISTICS s ON a, b FROM t", {"t": SUX}),
        ("CREATE SEQUENCE s OWNED BY t.a", {"t": AS}),
        ("ALTER SEQUENCE s OWNED BY x.t.a", {"s": SRX, "x.t": AS}),
        ("ALTER SEQUENCE s OWNED BY NONE", {"s": SRX}),
        ("CREATE PUBLICATION p FOR TABLE t", {"t": SUX}),
        ("ALTER PUBLICATION p SET TABLE t", {"t": SUX, None: SUX}),
        ("DROP TABLE t, s.u", {"t": AX, "s.u": AX, None: AX}),
        ("DROP VIEW v", {"v": AX}),
        ("DROP VIEW v CASCADE", {"v": AX, None: AX}),
        ("DROP INDEX i", {"i": AX, None: AX}),
        ("DROP INDEX CONCURRENTLY i", {"i": SUX, None: SUX}),
        ("DROP TRIGGER g ON s.t", {"s.t": AX}),
        ("DROP POLICY p ON t", {"t": AX}),
        ("DROP STATISTICS s", {None: SUX}),
        ("DROP FUNCTION f", {}),
        ("DROP TYPE e CASCADE", {None: AX}),
        ("DROP OWNED BY r", {None: AX}),
        ("ALTER TABLE t RENAME TO u", {"t": AX}),
        ("ALTER TABLE t RENAME COLUMN a TO b", {"t": AX}),
        ("ALTER INDEX i RENAME TO j", {"i": SUX}),
        ("ALTER TABLE t SET SCHEMA s", {"t": AX}),
        ("ALTER FUNCTION f SET SCHEMA s", {}),
        ("COMMENT ON TABLE t IS 'x'", {"t": SUX}),
        ("COMMENT ON COLUMN s.t.a IS 'x'", {"s.t": SUX}),
        ("COMMENT ON TRIGGER g ON t IS 'x'", {"t": AS}),
        ("COMMENT ON CONSTRAINT c ON t IS 'x'", {"t": AS}),
        ("COMMENT ON FUNCTION f IS 'x'", {}),
        ("REFRESH MATERIALIZED VIEW v", {"v": AX}),
        ("REFRESH MATERIALIZED VIEW CONCURRENTLY v", {"v": X}),
        ("CLUSTER t USING i", {"t": AX}),
        ("CLUSTER", {None: AX}),
        ("REINDEX TABLE t", {"t": S, None: AX}),
        ("REINDEX INDEX i", {"i": AX, None: S}),
        ("REINDEX TABLE CONCURRENTLY t", {"t": SUX, None: SUX}),
        ("VACUUM t", {"t": SUX}),
        ("VACUUM (FULL) t", {"t": AX}),
        ("VACUUM", {None: SUX}),
        ("ANALYZE t", {"t": SUX}),
    ],
)
def test_statements_of_the_schema(sql: str, expected: dict[str | None, LockMode]) -> None:
    assert locks(sql) == expected


@pytest.mark.parametrize(
    ("version", "expected"), [(14, {}), (17, {}), (18, {"t": AS})], ids=lambda value: str(value) if value else "none"
)
def test_grant_locks_the_table_from_18_on(version: int, expected: dict[str | None, LockMode]) -> None:
    assert locks("GRANT SELECT ON t TO r", version) == expected


@pytest.mark.parametrize(
    ("sql", "blocks"),
    [
        ("ALTER TABLE t ADD COLUMN b int", "reads and writes"),
        ("CREATE INDEX i ON t (a)", "writes"),
        ("CREATE INDEX CONCURRENTLY i ON t (a)", "schema changes"),
        ("UPDATE t SET a = 1", "nothing"),
        ("CREATE TABLE t (a int)", "nothing"),
        ("DO $$ BEGIN END $$", "unknown"),
        ("CALL p()", "unknown"),
        ("CREATE EXTENSION e", "unknown"),
    ],
)
def test_what_a_statement_blocks(sql: str, blocks: str) -> None:
    kind, node = one(sql)
    assert blocks_of(kind, locks_of(kind, node)) == blocks


def test_a_table_of_the_same_transaction_blocks_no_session() -> None:
    kind, node = one("ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES o")
    found = locks_of(kind, node)
    assert blocks_of(kind, found, frozenset({"t"})) == "writes"
    assert blocks_of(kind, found, frozenset({"t", "o"})) == "nothing"


def test_a_statement_that_cannot_be_read_takes_no_known_lock() -> None:
    for sql in ("DO $$ BEGIN END $$", "CALL p()", "EXECUTE e", "CREATE EXTENSION e"):
        kind, node = one(sql)
        assert kind in OPAQUE
        assert locks_of(kind, node) == ()
