"""Parameters in errors and logs."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdbm.core.masking import mask_error, mask_parameters

LONG = st.text(st.characters(exclude_categories=["Cs"]), min_size=17).map(lambda text: f"q7{text}q8")
SHORT = st.text(max_size=20)
HARMLESS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.decimals(allow_nan=False), SHORT,
    st.dates(), st.times(), st.datetimes(), st.timedeltas(), st.uuids(), st.ip_addresses(),
)  # fmt: skip


@given(st.lists(HARMLESS))
def test_harmless_values_are_shown(values: list[Any]) -> None:
    assert mask_parameters(values) == tuple(values)


@given(LONG)
def test_long_texts_are_masked(secret: str) -> None:
    (shown,) = mask_parameters([secret])
    assert shown == f"<str of {len(secret)} characters>"


@given(st.binary(max_size=50), st.sampled_from([bytes, bytearray, memoryview]))
def test_bytes_are_masked(secret: bytes, kind: type) -> None:
    assert mask_parameters([kind(secret)]) == (f"<{len(secret)} bytes>",)


NESTED = st.recursive(
    st.one_of(HARMLESS, LONG, st.binary().map(lambda value: b"q7" + value)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.one_of(st.integers(), SHORT, LONG), inner, max_size=2),
    ),
    max_leaves=5,
)


@given(st.lists(NESTED, max_size=3))
def test_nested_values_are_masked(values: list[Any]) -> None:
    assert "q7" not in repr(mask_parameters(values))


@dataclass
class Card:
    number: str


@pytest.mark.parametrize("value", [Card("q7 4111 1111"), {Card}, [Card("q7")], range(3)])
def test_objects_of_unknown_types_are_masked(value: Any) -> None:
    assert "q7" not in repr(mask_parameters([value]))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("x" * 20, "x" * 20),
        ("x" * 21, "<str of 21 characters>"),
        (b"", "<0 bytes>"),
        ([1, "x" * 21], (1, "<str of 21 characters>")),
        ({"k": b"abc"}, {"k": "<3 bytes>"}),
        (dt.date(2024, 2, 29), dt.date(2024, 2, 29)),
        (decimal.Decimal("1.50"), decimal.Decimal("1.50")),
        (uuid.UUID(int=0), uuid.UUID(int=0)),
        (Card("x"), "<Card>"),
    ],
)
def test_masks(value: Any, shown: Any) -> None:
    assert mask_parameters([value]) == (shown,)


def data_error(text: str, detail: str | None = None, hint: str | None = None) -> asyncpg.PostgresError:
    error = asyncpg.DataError(text)
    error.detail, error.hint = detail, hint
    return error


@given(LONG)
def test_the_values_are_taken_out_of_the_servers_message(secret: str) -> None:
    for parameter in (secret, [secret], {"k": secret}, secret.encode()):
        for quoted in (secret, repr(secret), repr(parameter), repr(parameter)[:40] + "...", repr(secret)[:40] + "..."):
            if isinstance(parameter, bytes) and quoted not in (repr(parameter), repr(parameter)[:40] + "..."):
                continue
            text = mask_error(data_error(f"no: {quoted} is bad", detail=f"row ({secret[:9]}...)"), [1, parameter])
            assert "q7" not in text
            assert text.startswith("no: ")


def test_detail_and_hint_are_shown_beside_harmless_parameters() -> None:
    error = data_error("duplicate", detail="Key (id)=(7) already exists.", hint="Try another.")
    assert mask_error(error, [7, "x"]) == "duplicate\nDETAIL:  Key (id)=(7) already exists.\nHINT:  Try another."
    assert mask_error(error, [7, "x" * 21]) == "duplicate\nHINT:  Try another."
    assert mask_error(error, None) == "duplicate\nHINT:  Try another."


def test_names_stay_readable() -> None:
    error = asyncpg.UndefinedTableError('relation "a_name_of_over_twenty_letters" does not exist')
    assert mask_error(error, ["x" * 30]) == 'relation "a_name_of_over_twenty_letters" does not exist'


def test_an_error_without_a_text() -> None:
    assert mask_error(OSError(), []) == "OSError"
