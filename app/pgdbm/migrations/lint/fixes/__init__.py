"""The safer form of statements with findings: files that have the same result without the long lock. Pure."""

from __future__ import annotations

from .files import FIXED_RULES, Fixable, WrittenFile, files_of, replacement_of
from .recipes import recipe_for
from .steps import Fix, FixFile, Replacement

__all__ = [
    "FIXED_RULES",
    "Fix",
    "FixFile",
    "Fixable",
    "Replacement",
    "WrittenFile",
    "files_of",
    "recipe_for",
    "replacement_of",
]
