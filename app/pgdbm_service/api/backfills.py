"""Requests and answers of the calls about backfills."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

_MOST_ROWS_PER_S = 1_000_000_000


class Backfill(msgspec.Struct, kw_only=True):
    """The progress of a backfill in one schema.

    ``processed_rows`` of about ``total_rows`` are processed, and ``changed_rows`` of them were changed. ``rate``: the
    limit in rows per second that was set while it runs; 0 is none. ``waiting_for``: why it waits. ``ended_at``: it is
    applied.
    """

    filename: str
    schema: str
    table_name: str | None
    key: str | None
    total_rows: int | None
    processed_rows: int
    changed_rows: int
    batches: int
    batch_rows: int | None
    rows_per_s: float | None
    paused: bool
    rate: int | None
    waiting_for: str | None
    started_at: datetime | None
    updated_at: datetime
    ended_at: datetime | None


class BackfillList(msgspec.Struct):
    """All of them are on one page."""

    items: list[Backfill]
    next: str | None = None


class BackfillBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """``paused``: stop it after its current batch, or let it continue. ``rate``: maximum number of rows per second; 0
    means no limit.

    Omitted settings are unchanged.
    """

    schema: Annotated[str, Meta(min_length=1)] | None = None
    paused: bool | None = None
    rate: Annotated[int, Meta(ge=0, le=_MOST_ROWS_PER_S)] | None = None
