"""Text for messages."""

from __future__ import annotations

import pytest

from pgdbm.text import bounded, object_in_words, sentence


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("There is no such table", "There is no such table."),
        ("There is no such table.", "There is no such table."),
        ("Did you mean orders?", "Did you mean orders?"),
        ("Out of memory!", "Out of memory!"),
        ("orders, …", "orders, …"),
    ],
)
def test_a_sentence_ends_with_one_mark(text: str, expected: str) -> None:
    assert sentence(text) == expected


def test_a_long_text_is_cut_and_the_rest_is_counted() -> None:
    assert bounded("x" * 2_000) == "x" * 2_000
    assert bounded("x" * 3_500) == "x" * 2_000 + "… (1,500 more characters)"


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("table", "orders", "table orders"),
        ("schema", "{{schema}}", "the schema"),
        ("owner", "schema {{schema}}", "owner of the schema"),
        ("owner", 'type "Role"', 'owner of type "Role"'),
        ("comment", "column orders.total", "comment on column orders.total"),
        ("privileges", "table orders", "privileges on table orders"),
    ],
)
def test_an_object_in_words(kind: str, name: str, words: str) -> None:
    assert object_in_words(kind, name) == words
