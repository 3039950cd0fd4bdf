"""A cache of bounded size."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pgdbm.core.lru import LRUCache


def test_the_least_recently_used_item_is_dropped() -> None:
    cache: LRUCache[str, int] = LRUCache(2)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a") == 1
    assert "b" in cache
    assert cache.put("c", 3) == 3
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (1, None, 3)
    cache.put("a", 4)
    cache.put("d", 5)
    assert (cache.get("a"), "c" in cache) == (4, False)


def test_an_item_can_be_removed() -> None:
    cache: LRUCache[str, int] = LRUCache(2)
    cache.put("a", 1)
    assert cache.pop("a") == 1
    assert cache.pop("a") is None
    assert cache.get("a") is None


@given(st.integers(1, 5), st.lists(st.integers(0, 9)))
def test_it_holds_the_keys_that_were_used_last(size: int, keys: list[int]) -> None:
    cache: LRUCache[int, int] = LRUCache(size)
    for key in keys:
        cache.put(key, key)
    last = list(dict.fromkeys(reversed(keys)))
    assert [key for key in range(10) if key in cache] == sorted(last[:size])
