"""A cache that drops the least recently used item."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class LRUCache(Generic[K, V]):
    """Holds at most ``size`` items. :meth:`get` and :meth:`put` count as use, ``in`` does not. Threads may share it."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: OrderedDict[K, V] = OrderedDict()

    def __contains__(self, key: K) -> bool:
        return key in self._items

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: K) -> V | None:
        try:
            self._items.move_to_end(key)
            return self._items[key]
        except KeyError:
            return None

    def put(self, key: K, value: V) -> V:
        """Set the item; returns ``value``."""
        self._items[key] = value
        self._items.move_to_end(key)
        if len(self._items) > self._size:
            self._items.popitem(last=False)
        return value

    def pop(self, key: K) -> V | None:
        """Remove the item; returns it, or None if there was none."""
        return self._items.pop(key, None)
