"""The fix of a file with findings. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .fixes import Fix, FixFile, files_of, recipe_for, replacement_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from .findings import Finding, MigrationInspection
    from .fixes import Replacement, WrittenFile
    from .tables import TableFacts


def with_fix(
    inspected: MigrationInspection, others: Collection[str], facts: Mapping[str, TableFacts] | None = None
) -> MigrationInspection:
    """``inspected`` with its fix, and with the fixes of its findings.

    ``others``: the names of all migrations; ``facts``: what is known about the tables, by their names in findings.
    """
    facts = facts or {}
    rules: dict[int, set[str]] = {}
    for one in inspected.findings:
        if one.statement is not None and one.statement in inspected.fixables:
            rules.setdefault(one.statement, set()).add(one.rule)
    replacements = {
        number: made
        for number, wanted in rules.items()
        if (made := replacement_of(inspected.parsed, inspected.fixables[number], wanted, facts)) is not None
    }
    files = files_of(inspected.parsed, replacements, others) if replacements else []
    if not files:
        return replace(inspected, findings=tuple(map(_with_recipe, inspected.findings)))
    note = " ".join(dict.fromkeys(one.note for one in replacements.values() if one.note)) or None
    fix = Fix(tuple(FixFile(file.name, file.sql) for file in files), note)
    findings = tuple(_with_recipe(_with_part(one, files, replacements)) for one in inspected.findings)
    return replace(inspected, findings=findings, fix=fix)


def _with_part(finding: Finding, files: Sequence[WrittenFile], replacements: Mapping[int, Replacement]) -> Finding:
    """``finding`` with the replacement of its statement, and the files that contain it."""
    number = finding.statement
    if number is None or number not in replacements or finding.rule not in replacements[number].rules:
        return finding
    parts = [(file.name, [step.sql for step in file.steps if step.statement == number]) for file in files]
    made = tuple(FixFile(name, "\n".join(found) + "\n") for name, found in parts if found)
    return replace(finding, fix=Fix(made, replacements[number].note))


def _with_recipe(finding: Finding) -> Finding:
    return finding if finding.fix is not None else replace(finding, fix=recipe_for(finding.rule, finding.message))
