"""Snapshots of the rows of a table."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ..core.templating import check_identifier, quote
from .tables import reference

if TYPE_CHECKING:
    from ..core.connection import RowDict
    from ..core.manager import AsyncDatabaseManager

_SHOWN_ROWS = 5


async def take(db: AsyncDatabaseManager, table: str, order_by: str | None) -> list[RowDict]:
    # As text, because json and some other types have no ordering.
    order = "kept::text" if order_by is None else f"kept.{quote(check_identifier(order_by, 'column'))}"
    query = f"SELECT kept.* FROM {reference(db, table)} AS kept ORDER BY {order}"  # noqa: S608 - checked names
    return await db.fetch_all(query)


def compare(table: str, before: list[RowDict], now: list[RowDict]) -> None:
    """Raise AssertionError with the added and removed rows; a changed row counts as both."""
    if before == now:
        return
    was, is_now = Counter(map(repr, before)), Counter(map(repr, now))
    added, removed = list((is_now - was).elements()), list((was - is_now).elements())
    lines = [f"Table {table!r} has changed: {len(removed)} rows removed, {len(added)} rows added."]
    for sign, rows in (("-", removed), ("+", added)):
        lines += [f"{sign} {row}" for row in rows[:_SHOWN_ROWS]]
        if len(rows) > _SHOWN_ROWS:
            lines.append(f"{sign} ... and {len(rows) - _SHOWN_ROWS} more")
    raise AssertionError("\n".join(lines))
