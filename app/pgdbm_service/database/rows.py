"""Checks rows of query results: a proxy or a damaged connection can change them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import asyncpg

T = TypeVar("T")

_watchers: set[Callable[[], None]] = set()


class UnreadableRowsError(Exception):
    """The statement cannot have returned these rows: something between the server and asyncpg changed them."""


@contextmanager
def watching_unreadable(watcher: Callable[[], None]) -> Iterator[None]:
    """During the block, call ``watcher`` when rows cannot be read, in any thread and by any reader.

    A connection keeps the description of a statement's columns, so it has to be replaced at the first such answer.
    """
    _watchers.add(watcher)
    try:
        yield
    finally:
        _watchers.discard(watcher)


@contextmanager
def reading_rows() -> Iterator[None]:
    """Raise UnreadableRowsError if a row in the block lacks a column, has another one, refers to something missing, or
    has an impossible value, and call the watchers."""
    try:
        yield
    except (LookupError, TypeError, ValueError) as error:
        for watcher in tuple(_watchers):
            watcher()
        raise UnreadableRowsError(f"{type(error).__name__}: {error}") from error


def numbered(items: Sequence[T], row: Mapping[str, object] | asyncpg.Record, first: int = 0) -> T:
    """The item whose position is in the column ``number`` of ``row``, counted from ``first``.

    Raises:
        LookupError: there is none.
    """
    number = row.get("number")
    if not isinstance(number, int) or not 0 <= number - first < len(items):
        raise LookupError(f"the column number is {number!r}, but there are {len(items)} items")
    return items[number - first]
