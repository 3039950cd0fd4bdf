"""squawk's findings among pgdbm's own, and programs of that name that fail."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from pgdbm.migrations.lint import squawk
from pgdbm.migrations.lint.findings import Finding, inspect
from pgdbm.migrations.lint.squawk import Report, ask_squawk, find_squawk
from pgdbm.migrations.sources.migration import read_migration
from pgdbm.migrations.sources.parser import parse_file

if TYPE_CHECKING:
    from pathlib import Path

    from pgdbm.migrations.sources.parser import ParsedFile, ParsedMigration

installed = pytest.mark.skipif(find_squawk() is None, reason="squawk is not installed")


def parsed(*contents: str) -> list[ParsedFile]:
    return [
        parse_file(read_migration(f"{number:03}_case.sql", content.encode()), "app")
        for number, content in enumerate(contents, 1)
    ]


def migrations(*contents: str) -> list[ParsedMigration]:
    return [file.migration for file in parsed(*contents)]


def found(*contents: str) -> list[Finding]:
    return [finding for one in inspect(parsed(*contents), 18, schema="app") for finding in one.findings]


def program(folder: Path, script: str) -> str:
    path = folder / "squawk"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@installed
def test_positions_are_those_of_the_file() -> None:
    findings = found(
        "SELECT 1;\n",
        "-- ä\r\n/* 😀é */ CREATE TABLE {{tables.a_long_name}} (a integer);\r\n"
        "CREATE TABLE {{tables.b}} (b varchar(9));",
    )
    assert [(f.filename, f.rule, f.statement, f.line, f.column) for f in findings if f.source == "squawk"] == [
        ("002_case.sql", "prefer-bigint-over-int", 1, 2, 49),
        ("002_case.sql", "prefer-text-field", 2, 3, 30),
    ]


@installed
def test_a_finding_of_both_is_reported_once() -> None:
    index = "CREATE INDEX i ON {{tables.a}} (b);"
    assert [finding.rule for finding in found(index)] == ["PGDBM009"]
    assert "require-concurrent-index-creation" in {
        remark.rule for remark in ask_squawk(find_squawk() or "", migrations(index), 18).remarks[0]
    }
    for name in ("PGDBM009", "require-concurrent-index-creation"):
        (one,) = inspect(parsed(f"-- pgdbm:ignore {name} it is small\n{index}"), 18, schema="app")
        assert one.findings == ()
        assert {finding.rule for finding in one.ignored} == {"PGDBM009"}


@installed
def test_a_rule_of_squawk_can_be_ignored() -> None:
    table = "CREATE TABLE {{tables.a}} (b integer);"
    assert found(f"-- pgdbm:ignore prefer-bigint-over-int few of them\n{table}") == []
    unused = found(f"{table}\n-- pgdbm:ignore prefer-text-field none\nSELECT 1;")
    assert [finding.rule for finding in unused] == ["prefer-bigint-over-int", "PGDBM022"]


@installed
def test_squawk_knows_which_files_run_in_a_transaction() -> None:
    files = migrations("CREATE TABLE {{tables.a}} (b bigint);", "-- pgdbm:no-transaction\nVACUUM {{tables.a}};")
    report = ask_squawk(find_squawk() or "", files, 14)
    assert sorted(report.remarks) == [0, 1]
    assert report.troubles == []


@installed
def test_syntax_unknown_to_squawk_is_reported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    report = Report()
    violation = {"rule_name": "syntax-error", "message": "expected command", "line": 0, "column": 0, "level": "Error"}
    squawk._read(report, 0, "SELECT 1", [violation])
    monkeypatch.setattr("pgdbm.migrations.lint.findings.ask_squawk", lambda *_: report)
    findings = found("SELECT 1")
    assert [(finding.rule, finding.severity) for finding in findings] == [("PGDBM024", "info")]


def test_a_long_file_is_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(squawk, "_LONGEST_CHARACTERS", 100)
    monkeypatch.setattr(squawk, "_run", lambda *_: {})
    (finding,) = found("SELECT 1; -- " + "x" * 100)
    assert (finding.rule, finding.severity) == ("PGDBM024", "info")
    assert "does not check files of more than" in finding.message


def test_without_squawk_its_rule_names_are_not_checked() -> None:
    (one,) = inspect(parsed("-- pgdbm:ignore prefer-text-field so\nSELECT 1"), 18, schema="app", squawk=False)
    assert one.findings == ()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'no such option' >&2; exit 2", "no such option"),
        ("exit 3", "it ended with status 3"),
        ("echo hello", "its output is not JSON"),
        ("echo '{}' | tr -d '{}'; exit 1", "its output is not JSON"),
        ("""echo '[{"file": "0.sql"}]'""", "its output does not have the expected form"),
        ("""echo '[1]'""", "its output does not have the expected form"),
        ("""echo '[{"file": "x.sql"}]'""", "invalid literal"),
        ("kill -9 $$", "it ended with status -9"),
    ],
)
def test_a_failing_program_is_reported_with_its_reason(
    script: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = program(tmp_path, script)
    monkeypatch.setattr("pgdbm.migrations.lint.findings.find_squawk", lambda: path)
    (finding,) = found("SELECT 1", "SELECT 2")
    assert (finding.rule, finding.severity, finding.filename) == ("PGDBM023", "warning", "001_case.sql")
    assert reason in finding.message
    assert "2 files" in finding.message


def test_a_program_that_does_not_start_is_reported(tmp_path: Path) -> None:
    report = ask_squawk(str(tmp_path / "nothing"), migrations("SELECT 1"), 18)
    assert [trouble.broken for trouble in report.troubles] == [True]
    assert report.remarks == {}


def test_a_program_that_takes_too_long_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(squawk, "_TIME_LIMIT", 0.2)
    report = ask_squawk(program(tmp_path, "exec sleep 600"), migrations("SELECT 1"), 18)
    assert [trouble.message for trouble in report.troubles] == ["it did not answer within 0 s"]


@installed
def test_many_files_are_checked_by_few_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = find_squawk()
    path = program(tmp_path, f'echo once >> {tmp_path}/runs\nexec {real} "$@"')
    monkeypatch.setattr(squawk, "_MOST_FILES", 40)
    report = ask_squawk(path, migrations(*["CREATE TABLE {{tables.a}} (b integer);"] * 100), 18)
    assert (tmp_path / "runs").read_text().split() == ["once"] * 3
    assert [[remark.rule for remark in report.remarks[index]] for index in range(100)] == [
        ["prefer-bigint-over-int"]
    ] * 100


@installed
def test_configuration_of_the_folder_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".squawk.toml").write_text('excluded_rules = ["prefer-bigint-over-int"]\n')
    monkeypatch.chdir(tmp_path)
    assert [finding.rule for finding in found("CREATE TABLE {{tables.a}} (b integer);")] == ["prefer-bigint-over-int"]
