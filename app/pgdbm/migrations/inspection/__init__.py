"""Looking at migrations before they run: which locks each statement takes, what it blocks, and what is risky about it.

Pure, but for squawk, which is started as a program where it is installed.
"""

from __future__ import annotations

from .findings import Finding, MigrationInspection, StatementInspection, inspect
from .lockmodes import LockMode, StatementLock

__all__ = ["Finding", "LockMode", "MigrationInspection", "StatementInspection", "StatementLock", "inspect"]
