"""Identifiers in composed SQL."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdbm import SchemaError
from pgdbm.core.templating import check_identifier, is_identifier, quote

PLAIN = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,62}", fullmatch=True)


@given(PLAIN)
def test_plain_names_pass_unchanged(name: str) -> None:
    assert is_identifier(name)
    assert check_identifier(name) == name
    assert quote(name) == f'"{name}"'


@given(st.text().filter(lambda text: not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,62}", text)))
def test_everything_else_is_refused(name: str) -> None:
    assert not is_identifier(name)
    with pytest.raises(SchemaError) as caught:
        check_identifier(name)
    assert caught.value.schema == name


@given(PLAIN, st.sampled_from(["\n", "\x00", " ", ";", '"', "'", "-", ".", "é", "१"]), st.integers(0, 63))
def test_one_wrong_character_is_enough(name: str, wrong: str, at: int) -> None:
    assert not is_identifier(name[:at] + wrong + name[at:])


@pytest.mark.parametrize("length", [62, 63, 64])
def test_the_length_that_postgresql_keeps(length: int) -> None:
    assert is_identifier("a" * length) is (length <= 63)


@pytest.mark.parametrize("name", [None, 5, b"app", ["app"]])
def test_a_value_that_is_not_text_is_refused(name: object) -> None:
    with pytest.raises(SchemaError, match="Invalid table name") as caught:
        check_identifier(name, "table")
    assert caught.value.schema is None


@given(st.text())
def test_quoting_can_be_undone(name: str) -> None:
    quoted = quote(name)
    assert quoted[0] == quoted[-1] == '"'
    assert not re.search(r'(?<!")"(?:"")*(?!")', quoted[1:-1])
    assert quoted[1:-1].replace('""', '"') == name
