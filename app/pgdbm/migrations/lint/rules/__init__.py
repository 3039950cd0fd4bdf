"""pgdbm's own rules, with stable ids; each is described in docs/reference/findings.md."""

from __future__ import annotations

from . import columns, constraints, dropping, indexes, locking, names, rows
from .rule import Constraints, Hit, Rule, SeenFile, SeenStatement, Severity

__all__ = ["RULES", "Constraints", "Hit", "Rule", "SeenFile", "SeenStatement", "Severity"]

RULES: tuple[Rule, ...] = tuple(
    sorted(
        (
            *names.RULES,
            *columns.RULES,
            *constraints.RULES,
            *indexes.RULES,
            *locking.RULES,
            *dropping.RULES,
            *rows.RULES,
        ),
        key=lambda rule: rule.id,
    )
)
