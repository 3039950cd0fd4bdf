"""Globs as patterns for LIKE."""

from __future__ import annotations

import pytest

from pgdbm_service.database.globs import like_pattern


@pytest.mark.parametrize(
    ("glob", "pattern"),
    [("*", "%"), ("tenant_*", r"tenant\_%"), ("a.?-b", "a._-b"), ("50%", r"50\%"), ("a\\b", r"a\\b")],
)
def test_globs_become_patterns(glob: str, pattern: str) -> None:
    assert like_pattern(glob) == pattern
