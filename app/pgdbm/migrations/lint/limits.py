"""Whether pending migrations do more than the limits of their module allow. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import PlanRefusedError
from .impact import described, verb_of
from .table_words import size_in_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .findings import Finding, MigrationInspection, StatementInspection
    from .tables import TableUse


def refusal_of(
    inspected: Iterable[MigrationInspection],
    tables: Mapping[str, TableUse],
    *,
    max_rewrite: int | None,
    blocked: tuple[str, ...],
    refuses_findings: bool,
) -> PlanRefusedError | None:
    """The first thing that is not allowed. ``blocked``: what may wait while a statement reads or rewrites a table.

    Findings that are ignored count for the tables, but not as findings.
    """
    for migration in inspected:
        every = (*migration.findings, *migration.ignored)
        for statement in migration.statements:
            verb = verb_of(statement, every)
            if verb is None:
                continue
            table = next((tables[lock.relation or ""] for lock in statement.locks if lock.relation in tables), None)
            name = "a table" if table is None else described(table)
            size = table.size_bytes if table is not None else None
            if max_rewrite is not None and verb.endswith(("rewrites", "rewrite")) and (size or 0) > max_rewrite:
                reason = f"{verb} {name}, and max_rewrite allows {size_in_words(max_rewrite)}"
                return _refusal(migration, statement, "max_rewrite", reason)
            if statement.blocks not in (*blocked, "unknown"):
                reason = f"{verb} {name} while {statement.blocks} wait, and max_blocked allows {blocked[-1]}"
                return _refusal(migration, statement, "max_blocked", reason)
        serious = [one for one in migration.findings if one.severity != "info"]
        if refuses_findings and serious:
            return _refusal_of_finding(migration, serious[0])
    return None


def _refusal(
    migration: MigrationInspection, statement: StatementInspection, limit: str, reason: str
) -> PlanRefusedError:
    about = [one for one in (*migration.findings, *migration.ignored) if one.statement == statement.number]
    return PlanRefusedError(
        f"{migration.filename}:{statement.line}:{statement.column}: statement {statement.number} ({statement.kind}) "
        f"{reason}.",
        migration.filename,
        limit=limit,
        statement=statement.number,
        position=(statement.line, statement.column),
        hint=_way_out(migration, about),
    )


def _refusal_of_finding(migration: MigrationInspection, finding: Finding) -> PlanRefusedError:
    return PlanRefusedError(
        f"{migration.filename}:{finding.line}:{finding.column}: {finding.rule}: {finding.message}",
        migration.filename,
        limit="findings",
        statement=finding.statement,
        position=(finding.line, finding.column),
        hint=f"{_way_out(migration, [finding])} Or accept it: -- pgdbm:ignore {finding.rule} and the reason.",
    )


def _way_out(migration: MigrationInspection, findings: list[Finding]) -> str:
    if any(one.fix is not None and one.fix.files for one in findings):
        names = ", ".join(file.filename for file in migration.fix.files) if migration.fix is not None else ""
        return f"`pgdbm migrate fix` writes the safer form: {names}."
    notes = [one.fix.note for one in findings if one.fix is not None and one.fix.note]
    return " ".join(notes[:1] or [one.advice for one in findings[:1]]) or "Divide the change into smaller ones."
