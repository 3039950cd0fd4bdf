"""Records as dicts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pgdbm.core.queries import dicts_of


@given(st.lists(st.text(), max_size=6), st.integers(0, 3))
def test_same_as_dict_of_pairs_for_any_column_names(names: list[str], count: int) -> None:
    rows = [tuple(range(number, number + len(names))) for number in range(count)]
    assert dicts_of(tuple(names))(rows) == [dict(zip(names, row, strict=True)) for row in rows]


def test_a_name_is_never_code() -> None:
    name = "'}] + [__import__('os').abort()] + [{'"
    assert dicts_of((name,))([(1,)]) == [{name: 1}]
