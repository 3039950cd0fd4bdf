"""Records as dicts, fast."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


def as_dicts(rows: Sequence[Any]) -> list[dict[str, Any]]:
    """asyncpg's records as dicts."""
    return dicts_of(tuple(rows[0].keys()))(rows) if rows else []


@lru_cache(maxsize=512)
def dicts_of(names: tuple[str, ...]) -> Callable[[Iterable[Any]], list[dict[str, Any]]]:
    """A function that makes dicts with the keys ``names`` of records with those columns.

    Written out for the columns, as namedtuple does it for fields: a quarter of what ``dict(record)`` takes, which
    looks every key up. Names come in as literals, so a column may be called anything; of two with one name the last
    counts, as in ``dict``.
    """
    display = ", ".join(f"{name!r}: row[{index}]" for index, name in enumerate(names))
    made: Callable[[Iterable[Any]], list[dict[str, Any]]] = eval(f"lambda rows: [{{{display}}} for row in rows]")  # noqa: S307
    return made
