"""Globs of names, as patterns for LIKE. Pure."""

from __future__ import annotations


def like_pattern(glob: str) -> str:
    """The pattern for LIKE that matches what ``glob`` matches: ``*`` matches any characters, ``?`` a single one.

    >>> print(like_pattern("tenant_*.?"))
    tenant\\_%._
    """
    escaped = glob.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%").replace("?", "_")
