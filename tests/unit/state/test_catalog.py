"""Listings of a schema: their bytes, and what differs between two."""

from __future__ import annotations

from dataclasses import astuple
from itertools import permutations

import pytest

from pgdbm.migrations.state.catalog import CatalogObject, deserialize, serialize
from pgdbm.migrations.state.changes import difference

TABLE = CatalogObject("table", "t", "")
A = CatalogObject("column", "t.a", "integer")
B = CatalogObject("column", "t.b", "text")


def test_equal_listings_have_equal_bytes_in_any_order() -> None:
    assert len({serialize(order) for order in permutations([TABLE, A, B])}) == 1
    assert set(deserialize(serialize([TABLE, A, B]))) == {TABLE, A, B}


def test_a_listing_keeps_any_text() -> None:
    odd = CatalogObject("view", 'we "ird"', "SELECT 'größe 🐘\\n'")
    assert deserialize(serialize([odd])) == (odd,)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([], [], []),
        ([A, B], [B, A], []),
        ([A], [A, B], [("added", "column", "t.b", None, "text")]),
        ([A, B], [A], [("removed", "column", "t.b", "text", None)]),
        ([A], [A._replace(definition="bigint")], [("changed", "column", "t.a", "integer", "bigint")]),
        (
            [A],
            [A._replace(kind="index")],
            [("removed", "column", "t.a", "integer", None), ("added", "index", "t.a", None, "integer")],
        ),
    ],
)
def test_the_difference_of_two_listings(
    before: list[CatalogObject], after: list[CatalogObject], expected: list[tuple[str, ...]]
) -> None:
    assert [astuple(change) for change in difference(before, after)] == expected


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ("a, b", "a, b", False),
        ("a, b", "b, a", True),
        ("a, b", "a, c, b", False),
        ("a, b", "a", False),
        ("a, b, c", "c, a", True),
    ],
)
def test_the_order_of_columns_counts_among_those_that_stay(before: str, after: str, changed: bool) -> None:
    kind = "column order"
    found = difference([CatalogObject(kind, "t", before)], [CatalogObject(kind, "t", after)])
    assert [change.kind for change in found] == (["changed"] if changed else [])


def test_the_order_of_columns_of_a_new_table_is_not_a_change_of_its_own() -> None:
    order = CatalogObject("column order", "t", "a, b")
    assert [change.object_kind for change in difference([], [TABLE, order])] == ["table"]
