"""docs/reference/findings.md and the rules have the same ids, and each example has the finding that it shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pgdbm.migrations.lint.findings import NOTICES, Finding, inspect
from pgdbm.migrations.lint.rules import RULES
from pgdbm.migrations.lint.squawk import SETTLED
from pgdbm.migrations.sources.migration import read_migration
from pgdbm.migrations.sources.parser import parse_file
from pgdbm.pgparse.lock_levels import LockMode

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "findings.md").read_text(encoding="utf-8")
_SECTION = re.compile(r"^## (PGDBM\d{3}) (\S+)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_EXAMPLE = re.compile(r"^```sql\n(.*?)^```", re.MULTILINE | re.DOTALL)
SECTIONS = {match[1]: (match[2], match[3]) for match in _SECTION.finditer(PAGE)}
WITHOUT_EXAMPLES = {"PGDBM023", "PGDBM024"}


def findings_in(text: str) -> list[Finding]:
    """The findings in the examples of ``text``, each of which is a file."""
    files = [
        parse_file(read_migration(f"{number:03}_example.sql", body.encode()), "shop")
        for number, body in enumerate(_EXAMPLE.findall(text), 1)
    ]
    assert files
    return [finding for one in inspect(files, 18, schema="shop", squawk=False) for finding in one.findings]


def test_every_rule_has_a_section_in_order() -> None:
    assert list(SECTIONS) == sorted(one.id for one in (*RULES, *NOTICES))
    assert {key: name for key, (name, _) in SECTIONS.items()} == {one.id: one.name for one in (*RULES, *NOTICES)}


@pytest.mark.parametrize("rule", sorted(set(SECTIONS) - WITHOUT_EXAMPLES))
def test_examples(rule: str) -> None:
    _, _, examples = SECTIONS[rule][1].partition("\nBad:\n")
    bad, _, good = examples.partition("\nGood:\n")
    assert rule in {finding.rule for finding in findings_in(bad)}
    assert findings_in(good) == []


def test_every_lock_mode_is_described() -> None:
    rows = re.findall(r"^\| `([A-Z ]+)` \| ([a-z ]+) \|", PAGE, re.MULTILINE)
    assert rows == [(mode.sql, mode.blocks) for mode in LockMode]


def test_rules_of_squawk_that_are_not_used_are_named() -> None:
    section = PAGE.partition("\n## squawk\n")[2].partition("\n## ")[0]
    assert {name for name in re.findall(r"`([a-z-]+)`", section) if "-" in name} - {"squawk-cli"} == SETTLED
