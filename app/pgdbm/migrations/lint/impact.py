"""What a migration does to the tables that it locks, in one sentence, given what is known about the tables. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ...pgparse.lock_modes import LockMode
from .table_words import content_in_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .findings import Finding, MigrationInspection, StatementInspection
    from .tables import TableFacts, TableUse


# From the heaviest. The other statements lock the table, but their duration does not depend on its size.
_VERBS = {
    "PGDBM020": "rewrites",
    "PGDBM003": "rewrites",
    "PGDBM005": "may rewrite",
    "PGDBM016": "changes every row of",
    "PGDBM027": "rebuilds indexes of",
    "PGDBM009": "builds an index of",
    "PGDBM010": "builds an index of",
    "PGDBM026": "computes",
    "PGDBM006": "scans",
    "PGDBM007": "scans",
    "PGDBM008": "scans",
    "PGDBM029": "scans",
}
_LOCKS = "locks"
_WEIGHTS = [*dict.fromkeys(reversed(_VERBS.values()))]
_WAITING = {
    "reads and writes": "while reads and writes wait",
    "writes": "while writes wait",
    "schema changes": "while schema changes wait",
}
_NOTHING = "nothing waits for it"
_UNKNOWN = "its locks are unknown"


def locked_relations(inspected: Iterable[MigrationInspection]) -> list[str]:
    """The relations that are locked, as the statements name them."""
    statements = [one for migration in inspected for one in migration.statements]
    return sorted({lock.relation for one in statements for lock in one.locks if lock.relation is not None})


def without_empty_tables(inspected: MigrationInspection, tables: Mapping[str, TableUse]) -> MigrationInspection:
    """``inspected`` without the findings that depend on the rows of a table, if it has none."""
    empty = {one.number for one in inspected.statements if _has_no_rows(one, tables)}

    def left(findings: Iterable[Finding]) -> tuple[Finding, ...]:
        return tuple(one for one in findings if one.rule not in _VERBS or one.statement not in empty)

    return replace(inspected, findings=left(inspected.findings), ignored=left(inspected.ignored))


def asks_for_facts(inspected: Iterable[MigrationInspection]) -> list[str]:
    """The tables whose constraints decide whether there is a finding, or what its fix is."""
    return sorted(
        {
            one.table
            for migration in inspected
            for one in (*migration.findings, *migration.ignored)
            if one.table is not None
        }
    )


def without_proved(inspected: MigrationInspection, facts: Mapping[str, TableFacts]) -> MigrationInspection:
    """``inspected`` without the findings that the catalog refutes: that a column may be null, or that a wider type
    rewrites the table.

    Suspected findings stay if the catalog confirms them.
    """

    def is_refuted(one: Finding) -> bool:
        known = facts.get(one.table or "")
        if known is None:
            return one.suspected
        if one.not_null is not None and known.never_null(one.not_null):
            return True
        if one.retyped is None:
            return False
        is_unknown = one.suspected and one.retyped.column not in known.types
        return is_unknown or known.stays_stored(one.retyped)

    def left(findings: Iterable[Finding]) -> tuple[Finding, ...]:
        return tuple(one for one in findings if not is_refuted(one))

    return replace(inspected, findings=left(inspected.findings), ignored=left(inspected.ignored))


def _has_no_rows(statement: StatementInspection, tables: Mapping[str, TableUse]) -> bool:
    """Whether all tables that ``statement`` names, except those it only reads, are known to be empty."""
    changed = [one.relation for one in statement.locks if one.mode >= LockMode.ROW_EXCLUSIVE and one.relation]
    return bool(changed) and all(name in tables and tables[name].rows == 0 for name in changed)


def impact_of(inspected: MigrationInspection, tables: Mapping[str, TableUse]) -> str:
    """What the heaviest statement of a file does to a table, and what waits for it."""
    weighed = [_weighed(one, inspected.findings, tables) for one in inspected.statements]
    _, sentence = max(weighed, default=((0,), _NOTHING))
    if sentence != _UNKNOWN and any(one.blocks == "unknown" for one in inspected.statements):
        return f"{sentence}; the locks of another statement are unknown"
    return sentence


def _weighed(
    statement: StatementInspection, findings: Sequence[Finding], tables: Mapping[str, TableUse]
) -> tuple[tuple[int, ...], str]:
    """The weight of a statement, and its sentence."""
    waiting = _WAITING.get(statement.blocks)
    if waiting is None:
        return ((1,), _UNKNOWN) if statement.blocks == "unknown" else ((0,), _NOTHING)
    named = [lock.relation for lock in statement.locks if lock.relation is not None]
    table = tables.get(named[0]) if named else None
    verb = _verb(statement, findings)
    strength = len(_WAITING) - list(_WAITING).index(statement.blocks) + 1
    weight = _WEIGHTS.index(verb) + 1 if verb in _WEIGHTS else 0
    size = (table.size_bytes or 0) if table is not None else 0
    name = named[0] if named else "relations that only the catalog shows"
    return (strength, weight, size), f"{verb} {name if table is None else described(table)} {waiting}"


def verb_of(statement: StatementInspection, findings: Sequence[Finding]) -> str | None:
    """What ``statement`` does that takes longer the larger a table is; None if it takes a moment."""
    verb = _verb(statement, findings)
    return None if verb == _LOCKS else verb


def _verb(statement: StatementInspection, findings: Sequence[Finding]) -> str:
    if statement.kind.startswith("REPACK"):
        return "rewrites"
    about = {one.rule: one for one in findings if one.statement == statement.number}
    rule = next((rule for rule in _VERBS if rule in about), None)
    if rule is None:
        return _LOCKS
    # Only the catalog shows whether a function is volatile.
    return "may rewrite" if " unless " in about[rule].message else _VERBS[rule]


def described(table: TableUse) -> str:
    """The name of ``table`` with its rows and bytes."""
    return f"{table.relation} ({content_in_words(table.rows, table.size_bytes)})"
