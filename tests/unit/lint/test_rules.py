"""The findings of each rule, and similar statements without one."""

from __future__ import annotations

import pytest

from pgdbm.migrations.lint.findings import inspect
from pgdbm.migrations.sources.migration import read_migration
from pgdbm.migrations.sources.parser import parse_file

HEAD = "-- pgdbm:no-transaction\n"
# An earlier file, so that the table already has rows and readers.
TABLE = "CREATE TABLE {{tables.t}} (id int, a int, b text);"


def rules(*contents: str, version: int = 18) -> list[str]:
    """The rules of the findings in the last of these files."""
    files = [
        parse_file(read_migration(f"{number:03}.sql", content.encode()), "app", version)
        for number, content in enumerate(contents, 1)
    ]
    return [finding.rule for finding in inspect(files, version, schema="app", squawk=False)[-1].findings]


@pytest.mark.parametrize(
    ("change", "rule", "found"),
    [
        ("ADD COLUMN c uuid DEFAULT gen_random_uuid()", "PGDBM003", True),
        ("ADD COLUMN c float8 DEFAULT random()", "PGDBM003", True),
        ("ADD COLUMN c int GENERATED ALWAYS AS IDENTITY", "PGDBM003", True),
        ("ADD COLUMN c bigserial", "PGDBM003", True),
        ("ADD COLUMN c int GENERATED ALWAYS AS (a + 1) STORED", "PGDBM003", True),
        ("ADD COLUMN c int DEFAULT 1", "PGDBM003", False),
        ("ADD COLUMN c timestamptz DEFAULT now()", "PGDBM003", False),
        ("ADD COLUMN c int", "PGDBM003", False),
        ("ALTER COLUMN a SET DEFAULT random()", "PGDBM003", False),
        ("ADD COLUMN c int NOT NULL", "PGDBM004", True),
        ("ADD COLUMN c int NOT NULL DEFAULT 1", "PGDBM004", False),
        ("ADD COLUMN c int PRIMARY KEY", "PGDBM004", True),
        ("ALTER COLUMN a TYPE bigint", "PGDBM005", True),
        ("ALTER COLUMN b TYPE varchar(10)", "PGDBM005", True),
        ("ALTER COLUMN b TYPE text", "PGDBM005", False),
        ("ALTER COLUMN b TYPE varchar", "PGDBM005", False),
        ("ALTER COLUMN a SET NOT NULL", "PGDBM006", True),
        ("ALTER COLUMN a DROP NOT NULL", "PGDBM006", False),
        ("ADD FOREIGN KEY (a) REFERENCES {{tables.o}}", "PGDBM007", True),
        ("ADD FOREIGN KEY (a) REFERENCES {{tables.o}} NOT VALID", "PGDBM007", False),
        ("ADD CHECK (a > 0)", "PGDBM008", True),
        ("ADD CHECK (a > 0) NOT VALID", "PGDBM008", False),
        ("ADD UNIQUE (a)", "PGDBM010", True),
        ("ADD PRIMARY KEY (id)", "PGDBM010", True),
        ("ADD UNIQUE USING INDEX t_a", "PGDBM010", False),
        ("DROP COLUMN a", "PGDBM013", True),
        ("ALTER COLUMN a DROP DEFAULT", "PGDBM013", False),
        ("SET UNLOGGED", "PGDBM020", True),
        ("SET TABLESPACE fast", "PGDBM020", True),
        ("SET (fillfactor = 70)", "PGDBM020", False),
        ("DETACH PARTITION {{tables.p}}", "PGDBM030", True),
    ],
)
def test_changes_of_a_table_in_use(change: str, rule: str, found: bool) -> None:
    assert (rule in rules(TABLE, f"ALTER TABLE {{{{tables.t}}}} {change};")) is found


@pytest.mark.parametrize(
    "change",
    [
        "ADD COLUMN c int NOT NULL",
        "ALTER COLUMN a TYPE bigint",
        "ADD CHECK (a > 0)",
        "ADD UNIQUE (a)",
        "ALTER a SET NOT NULL",
    ],
)
def test_a_table_of_the_same_file_has_no_rows_and_no_users(change: str) -> None:
    assert rules(f"{TABLE}\nALTER TABLE {{{{tables.t}}}} {change};") == []


@pytest.mark.parametrize(
    ("content", "rule", "found"),
    [
        ("CREATE INDEX i ON {{tables.t}} (a)", "PGDBM009", True),
        (HEAD + "CREATE INDEX CONCURRENTLY i ON {{tables.t}} (a)", "PGDBM009", False),
        (HEAD + "CREATE INDEX CONCURRENTLY ON {{tables.t}} (a)", "PGDBM015", True),
        (HEAD + "CREATE INDEX CONCURRENTLY i ON {{tables.t}} (a)", "PGDBM015", False),
        ("REINDEX TABLE {{tables.t}}", "PGDBM027", True),
        (HEAD + "REINDEX TABLE CONCURRENTLY {{tables.t}}", "PGDBM027", False),
        ("DROP INDEX {{schema}}.i", "PGDBM028", True),
        (HEAD + "DROP INDEX CONCURRENTLY {{schema}}.i", "PGDBM028", False),
        ("DROP TABLE {{tables.t}}", "PGDBM012", True),
        ("DROP VIEW {{tables.v}}", "PGDBM012", False),
        ("ALTER TABLE {{tables.t}} RENAME TO u", "PGDBM014", True),
        ("ALTER TABLE {{tables.t}} RENAME COLUMN a TO c", "PGDBM014", True),
        ("ALTER TABLE {{tables.t}} SET SCHEMA s", "PGDBM014", True),
        ("ALTER TABLE {{tables.t}} RENAME CONSTRAINT x TO y", "PGDBM014", False),
        ("UPDATE {{tables.t}} SET a = 1", "PGDBM016", True),
        ("DELETE FROM {{tables.t}}", "PGDBM016", True),
        ("WITH w AS (DELETE FROM {{tables.t}} RETURNING *) SELECT count(*) FROM w", "PGDBM016", True),
        ("UPDATE {{tables.t}} SET a = 1 WHERE a IS NULL", "PGDBM016", False),
        ("UPDATE {{tables.t}} SET a = 1 WHERE true", "PGDBM016", False),
        ("LOCK TABLE {{tables.t}} IN SHARE MODE", "PGDBM017", True),
        ("DROP VIEW {{tables.v}} CASCADE", "PGDBM019", True),
        ("DROP VIEW {{tables.v}}", "PGDBM019", False),
        ("TRUNCATE {{tables.t}} CASCADE", "PGDBM019", True),
        ("TRUNCATE {{tables.t}}", "PGDBM025", True),
        (HEAD + "VACUUM FULL {{tables.t}}", "PGDBM020", True),
        (HEAD + "VACUUM {{tables.t}}", "PGDBM020", False),
        ("REFRESH MATERIALIZED VIEW {{tables.v}}", "PGDBM026", True),
        ("REFRESH MATERIALIZED VIEW CONCURRENTLY {{tables.v}}", "PGDBM026", False),
        ("SELECT * FROM t", "PGDBM001", True),
        ("SELECT * FROM {{tables.t}}", "PGDBM001", False),
        ("WITH t AS (SELECT 1) SELECT * FROM t", "PGDBM001", False),
        ("SELECT * FROM pg_class", "PGDBM001", False),
        ("SELECT * FROM billing.t", "PGDBM002", True),
        ("SELECT * FROM pg_catalog.pg_class", "PGDBM002", False),
    ],
)
def test_statements(content: str, rule: str, found: bool) -> None:
    assert (rule in rules(TABLE, content + ";")) is found


def test_two_tables_that_are_locked_exclusively_in_one_transaction() -> None:
    both = "ALTER TABLE {{tables.a}} ADD c int; ALTER TABLE {{tables.b}} ADD c int;"
    assert "PGDBM011" in rules(both)
    assert "PGDBM011" not in rules(both.replace("tables.b", "tables.a"))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("ALTER TYPE {{schema}}.mood ADD VALUE 'calm'; SELECT 'calm'", True),
        ("ALTER TYPE {{schema}}.mood ADD VALUE 'calm'; SELECT 'sad'", False),
        ("SELECT 'calm'; ALTER TYPE {{schema}}.mood ADD VALUE 'calm'", False),
    ],
)
def test_a_value_of_an_enum_that_is_used_before_its_commit(content: str, found: bool) -> None:
    assert ("PGDBM018" in rules(content)) is found


def test_a_constraint_that_is_validated_in_the_transaction_that_added_it() -> None:
    add = "ALTER TABLE {{tables.t}} ADD CONSTRAINT c CHECK (a > 0) NOT VALID;"
    validate = "ALTER TABLE {{tables.t}} VALIDATE CONSTRAINT c;"
    assert "PGDBM029" in rules(TABLE, f"{add}\n{validate}")
    assert rules(TABLE, add, validate) == []


@pytest.mark.parametrize(
    ("comment", "expected"),
    [
        ("-- pgdbm:ignore PGDBM012 no release reads it", []),
        ("-- pgdbm:ignore PGDBM012", ["PGDBM021", "PGDBM012"]),
        ("-- pgdbm:ignore because", ["PGDBM021", "PGDBM012"]),
        ("-- pgdbm:ignore PGDBM013 no release reads it", ["PGDBM022", "PGDBM012"]),
    ],
)
def test_ignoring_a_finding_takes_its_rule_and_a_reason(comment: str, expected: list[str]) -> None:
    assert sorted(rules(TABLE, f"{comment}\nDROP TABLE {{{{tables.t}}}};")) == sorted(expected)
