"""Findings about migrations before they run: the locks of each statement, what they block, and its risks.

Pure, except for squawk, which is run as a program if it is installed.
"""

from __future__ import annotations

from ...pgparse.lock_modes import LockMode, StatementLock
from .findings import Finding, MigrationInspection, StatementInspection, inspect
from .fixes import Fix, FixFile
from .fixing import with_fix
from .impact import asks_for_facts, impact_of, locked_relations, without_empty_tables, without_proved
from .limits import refusal_of
from .table_words import content_in_words, use_in_words, use_of, used_tables
from .tables import TableFacts, TableUse

__all__ = [
    "Finding",
    "Fix",
    "FixFile",
    "LockMode",
    "MigrationInspection",
    "StatementInspection",
    "StatementLock",
    "TableFacts",
    "TableUse",
    "asks_for_facts",
    "content_in_words",
    "impact_of",
    "inspect",
    "locked_relations",
    "refusal_of",
    "use_in_words",
    "use_of",
    "used_tables",
    "with_fix",
    "without_empty_tables",
    "without_proved",
]
