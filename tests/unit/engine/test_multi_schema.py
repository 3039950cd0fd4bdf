"""Options of a run over many schemas, and patterns of schema names."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdbm import ConfigurationError
from pgdbm.migrations.multi_schema import MultiSchema, expression_of


@pytest.mark.parametrize(
    ("pattern", "expression"),
    [
        ("tenant_*", "^tenant_.*$"),
        ("t?", "^t.$"),
        ("a.b", "^a\\.b$"),
        ("a**b", "^a.*.*b$"),
        ("[a]", "^\\[a\\]$"),
        ("größe", "^größe$"),
        ("", "^$"),
    ],
)
def test_a_pattern_becomes_a_regular_expression_of_the_server(pattern: str, expression: str) -> None:
    assert expression_of(pattern) == expression


@given(st.text("ab_.*?+(", max_size=8), st.text("ab_.*?+(", max_size=8))
def test_a_pattern_matches_as_in_the_shell(pattern: str, name: str) -> None:
    matches = re.match(expression_of(pattern), name, re.DOTALL) is not None
    assert matches == fnmatchcase(name, pattern)


@pytest.mark.parametrize(
    ("options", "field"),
    [({"concurrency": 0}, "concurrency"), ({"canary": -1}, "canary"), ({"on_failure": "ignore"}, "on_failure")],
)
def test_an_invalid_option_is_named(options: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        MultiSchema(None, {}, "m", **options)  # type: ignore[arg-type]
    assert caught.value.config_field == field
