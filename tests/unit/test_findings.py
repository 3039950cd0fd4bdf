"""What an inspection says beside its golden cases: schemas, versions, several files, and syntax that is too new."""

from __future__ import annotations

import postgast
import pytest

from pgdbm.migrations.files import read_migration
from pgdbm.migrations.inspection.findings import MigrationInspection, inspect
from pgdbm.migrations.inspection.ignores import ignores_in
from pgdbm.migrations.inspection.locklevels import LockMode, StatementLock, locks_of
from pgdbm.migrations.inspection.rules import RULES
from pgdbm.migrations.parser import parse


def inspected(*contents: str, schema: str | None = "app", version: int = 18) -> list[MigrationInspection]:
    files = [
        parse(read_migration(f"{number:03}_case.sql", content.encode()), schema, version)
        for number, content in enumerate(contents, 1)
    ]
    return inspect(files, version, schema=schema, squawk=False)


def rules_in(*contents: str, schema: str | None = "app") -> list[str]:
    return [finding.rule for one in inspected(*contents, schema=schema) for finding in one.findings]


def locks(sql: str, version: int) -> tuple[StatementLock, ...]:
    (raw,) = postgast.parse(sql).stmts
    kind = raw.stmt.WhichOneof("node")
    return locks_of(kind, getattr(raw.stmt, kind), version)


def test_nothing_to_inspect() -> None:
    assert inspected() == []


def test_a_file_of_comments() -> None:
    (one,) = inspected("-- nothing to do\n")
    assert (one.statements, one.findings) == ((), ())


@pytest.mark.parametrize("version", [14, 15, 16, 17])
def test_grant_locks_from_18_on(version: int) -> None:
    assert locks("GRANT SELECT ON app.t TO PUBLIC", version) == ()
    assert locks("GRANT SELECT ON app.t TO PUBLIC", 18) == (StatementLock(LockMode.ACCESS_SHARE, "app.t"),)


def test_modes_are_in_order() -> None:
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


def test_names_without_a_schema_to_be_in() -> None:
    assert rules_in("SELECT * FROM a", schema=None) == []
    assert rules_in("SELECT * FROM a, {{tables.b}}, {{schema}}.c", schema=None) == ["PGDBM001"]
    assert rules_in("DROP VIEW {{tables.b}}; DROP VIEW {{schema}}.c; DROP VIEW d", schema=None) == ["PGDBM001"]


def test_a_proof_in_an_earlier_file() -> None:
    proof = "ALTER TABLE {{tables.a}} ADD CONSTRAINT c CHECK (x IS NOT NULL) NOT VALID;"
    validate = "ALTER TABLE {{tables.a}} VALIDATE CONSTRAINT c;"
    required = "ALTER TABLE {{tables.a}} ALTER COLUMN x SET NOT NULL;"
    assert rules_in(proof, validate, required) == []
    assert rules_in(proof, required) == ["PGDBM006"]
    assert rules_in(proof, validate, required.replace("tables.a", "tables.b")) == ["PGDBM006"]


def test_a_table_of_an_earlier_file_is_in_use() -> None:
    assert rules_in("CREATE TABLE {{tables.a}} (x integer)", "CREATE INDEX i ON {{tables.a}} (x)") == ["PGDBM009"]


def test_syntax_that_only_a_newer_server_knows() -> None:
    (one,) = inspected("\n  FROBNICATE TABLE {{tables.a}};\n", version=19)
    (statement,) = one.statements
    assert (statement.kind, statement.locks, statement.blocks) == ("unknown", (), "unknown")
    assert [(finding.rule, finding.severity) for finding in one.findings] == [("PGDBM024", "info")]


def test_positions_are_those_of_the_author() -> None:
    (one,) = inspected("-- ä\n/* 😀 */ UPDATE {{tables.with_a_long_name}} SET x = 'é'; DELETE FROM {{ tables.a }};")
    assert [(s.line, s.column) for s in one.statements] == [(2, 9), (2, 57)]
    assert [(f.rule, f.statement, f.line, f.column) for f in one.findings] == [
        ("PGDBM016", 1, 2, 16),
        ("PGDBM016", 2, 2, 69),
    ]


def test_ids_are_unique_and_look_alike() -> None:
    ids = [rule.id for rule in RULES]
    assert len(ids) == len(set(ids))
    assert all(len(one) == 8 and one.startswith("PGDBM") and one[5:].isdecimal() for one in ids)


def test_an_ignore_for_which_no_statement_follows() -> None:
    parsed = parse(read_migration("a.sql", b"SELECT 1;\n-- pgdbm:ignore PGDBM012 too late\n"), "app")
    (ignore,) = ignores_in(parsed)
    assert (ignore.statement, ignore.covers(1), ignore.covers(None)) == (None, False, False)
