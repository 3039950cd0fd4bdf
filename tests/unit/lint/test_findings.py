"""Findings besides the golden cases: schemas, versions, several files, and newer syntax."""

from __future__ import annotations

import time

import postgast
import pytest

from pgdbm.migrations.lint.findings import MigrationInspection, inspect
from pgdbm.migrations.lint.ignores import ignores_in
from pgdbm.migrations.lint.rules import RULES
from pgdbm.migrations.sources.batches import parse_each
from pgdbm.migrations.sources.migration import read_migration
from pgdbm.migrations.sources.parser import parse_file
from pgdbm.pgparse.lock_levels import LockMode, StatementLock, locks_of


def inspected(*contents: str, schema: str | None = "app", version: int = 18) -> list[MigrationInspection]:
    files = [
        parse_file(read_migration(f"{number:03}_case.sql", content.encode()), schema, version)
        for number, content in enumerate(contents, 1)
    ]
    return inspect(files, version, schema=schema, squawk=False)


def rules_in(*contents: str, schema: str | None = "app") -> list[str]:
    return [finding.rule for one in inspected(*contents, schema=schema) for finding in one.findings]


def locks(sql: str, version: int) -> tuple[StatementLock, ...]:
    (raw,) = postgast.parse(sql).stmts
    kind = raw.stmt.WhichOneof("node")
    return locks_of(kind, getattr(raw.stmt, kind), version)


def test_no_files_have_no_findings() -> None:
    assert inspected() == []


def test_a_file_of_comments_has_no_statements() -> None:
    (one,) = inspected("-- nothing to do\n")
    assert (one.statements, one.findings) == ((), ())


@pytest.mark.parametrize("version", [14, 15, 16, 17])
def test_grant_locks_from_18_on(version: int) -> None:
    assert locks("GRANT SELECT ON app.t TO PUBLIC", version) == ()
    assert locks("GRANT SELECT ON app.t TO PUBLIC", 18) == (StatementLock(LockMode.ACCESS_SHARE, "app.t"),)


def test_lock_modes_are_ordered() -> None:
    assert [mode.sql for mode in sorted(LockMode)] == [
        "ACCESS SHARE",
        "ROW SHARE",
        "ROW EXCLUSIVE",
        "SHARE UPDATE EXCLUSIVE",
        "SHARE",
        "SHARE ROW EXCLUSIVE",
        "EXCLUSIVE",
        "ACCESS EXCLUSIVE",
    ]


def test_unqualified_names_are_a_finding_only_beside_placeholders() -> None:
    assert rules_in("SELECT * FROM a", schema=None) == []
    assert rules_in("SELECT * FROM a, {{tables.b}}, {{schema}}.c", schema=None) == ["PGDBM001"]
    assert rules_in("DROP VIEW {{tables.b}}; DROP VIEW {{schema}}.c; DROP VIEW d", schema=None) == ["PGDBM001"]


def test_a_validated_check_in_an_earlier_file_allows_set_not_null() -> None:
    check_constraint = "ALTER TABLE {{tables.a}} ADD CONSTRAINT c CHECK (x IS NOT NULL) NOT VALID;"
    validate = "ALTER TABLE {{tables.a}} VALIDATE CONSTRAINT c;"
    required = "ALTER TABLE {{tables.a}} ALTER COLUMN x SET NOT NULL;"
    assert rules_in(check_constraint, validate, required) == []
    assert rules_in(check_constraint, required) == ["PGDBM006"]
    assert rules_in(check_constraint, validate, required.replace("tables.a", "tables.b")) == ["PGDBM006"]


def test_a_table_of_an_earlier_file_is_in_use() -> None:
    assert rules_in("CREATE TABLE {{tables.a}} (x integer)", "CREATE INDEX i ON {{tables.a}} (x)") == ["PGDBM009"]


def test_syntax_of_a_newer_server_is_an_unknown_statement() -> None:
    (one,) = inspected("\n  FROBNICATE TABLE {{tables.a}};\n", version=19)
    (statement,) = one.statements
    assert (statement.kind, statement.locks, statement.blocks) == ("unknown", (), "unknown")
    assert [(finding.rule, finding.severity) for finding in one.findings] == [("PGDBM024", "info")]


def test_a_new_command_is_known_by_its_first_words() -> None:
    (one,) = inspected("-- pgdbm:no-transaction\nREPACK (CONCURRENTLY) {{tables.a}};", version=19)
    (statement,) = one.statements
    assert (statement.kind, statement.blocks) == ("REPACK (CONCURRENTLY)", "reads and writes")
    assert statement.locks == (StatementLock(LockMode.ACCESS_EXCLUSIVE, "app.a"),)
    (finding,) = one.findings
    assert finding.rule == "PGDBM024"
    assert "Its first words are those of REPACK (CONCURRENTLY)" in finding.message
    assert "no rule was checked" in finding.message


def test_a_new_command_on_a_table_of_the_same_file_blocks_nothing() -> None:
    (one,) = inspected("CREATE TABLE {{tables.a}} (); REPACK {{tables.a}}", version=19)
    assert one.statements[1].blocks == "nothing"


@pytest.mark.parametrize(
    "before",
    ["FROBNICATE 'é';\n", "SELECT 1;\n", f"SELECT 'é', {' || '.join(['a'] * 200)};\n"],
    ids=["newer", "known", "deep"],
)
def test_positions_are_those_of_the_file_for_statements_parsed_alone(before: str) -> None:
    contents = [before + "\n  SELECT 1 FROM\n    unqualified;", before + "SELECT 2;\nUPDATE\n other SET x = 1"]
    files = [read_migration(f"{number}.sql", text.encode()) for number, text in enumerate(contents, 1)]
    found = inspect(parse_each(files, "app", 19), 19, schema="app", squawk=False)
    assert [(one.filename, f.line, f.column) for one in found for f in one.findings if f.rule == "PGDBM001"] == [
        ("1.sql", 4, 5),
        ("2.sql", 4, 2),
    ]


def test_positions_are_those_of_the_file_if_it_is_parsed_in_pieces() -> None:
    lines = 2_000
    text = "a text that makes the file a long one: é" * 20
    (one,) = inspected(f"SELECT '{text}';\n" * lines + "SELECT 1 FROM\n  unqualified;")
    assert [(found.line, found.column) for found in one.findings] == [(lines + 2, 3)]


def test_positions_are_those_of_the_file() -> None:
    (one,) = inspected("-- ä\n/* 😀 */ UPDATE {{tables.with_a_long_name}} SET x = 'é'; DELETE FROM {{ tables.a }};")
    assert [(s.line, s.column) for s in one.statements] == [(2, 9), (2, 57)]
    assert [(f.rule, f.statement, f.line, f.column) for f in one.findings] == [
        ("PGDBM016", 1, 2, 16),
        ("PGDBM016", 2, 2, 69),
    ]


def test_rule_ids_are_unique_and_have_one_form() -> None:
    ids = [rule.id for rule in RULES]
    assert len(ids) == len(set(ids))
    assert all(len(one) == 8 and one.startswith("PGDBM") and one[5:].isdecimal() for one in ids)


def test_an_ignore_without_a_statement_covers_nothing() -> None:
    parsed = parse_file(read_migration("a.sql", b"SELECT 1;\n-- pgdbm:ignore PGDBM012 too late\n"), "app")
    (ignore,) = ignores_in(parsed.migration)
    assert (ignore.statement, ignore.covers(1), ignore.covers(None)) == (None, False, False)


@pytest.mark.parametrize("name", ["t", "é"])
def test_many_statements_take_time_in_proportion(name: str) -> None:
    content = f"CREATE INDEX {name} ON {{{{tables.orders}}}} (a);\nSELECT '{{{{tables.x}}}} {name}';\n" * 5_000
    started = time.process_time()
    (found,) = inspected(content)
    assert time.process_time() - started < 20
    assert len(found.statements) == 10_000
    assert (found.statements[-1].line, found.statements[-1].column) == (10_000, 1)
