"""Cursors: opaque, and refused where no call has given them."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdbm_service.errors import ServiceError
from pgdbm_service.web.pagination import cursor_of, read_cursor, read_number


def encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


_TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=50)


@given(st.one_of(st.integers(-(2**63), 2**63 - 1), _TEXTS))
def test_a_cursor_is_read_back(last: Any) -> None:
    cursor = cursor_of(last)
    assert read_cursor(cursor, type(last)) == last
    assert cursor.replace("-", "").replace("_", "").isalnum()


def test_a_cursor_of_several_values_is_read_back() -> None:
    assert read_cursor(cursor_of(("m", "tenant_ö")), tuple[str, str]) == ("m", "tenant_ö")


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "!",
        "a",
        "größe",
        "5",
        encoded(b"x"),
        encoded(b'"text"'),
        encoded(b"1.5"),
        encoded(b"null"),
        encoded(b"[1]"),
        encoded(b"1 2"),
        encoded(b"\xff"),
        encoded(b"[" * 700),
        "A" * 1001,
    ],
)
def test_what_no_call_has_given_is_refused(cursor: str) -> None:
    with pytest.raises(ServiceError) as caught:
        read_cursor(cursor, int)
    assert caught.value.code == "invalid_request"
    assert [error["field"] for error in caught.value.fields["errors"]] == ["next"]


def test_a_cursor_with_the_character_nul_is_refused() -> None:
    with pytest.raises(ServiceError):
        read_cursor(cursor_of("a\0b"), str)


@pytest.mark.parametrize(
    ("last", "number"), [(0, 0), (7, 7), (-5, 0), (2**63 - 1, 2**63 - 1), (2**63, 2**63 - 1), (2**64 - 1, 2**63 - 1)]
)
def test_a_number_stays_within_a_bigint(last: int, number: int) -> None:
    assert read_number(cursor_of(last)) == number


def test_no_cursor_means_no_number() -> None:
    assert read_number(None) is None
