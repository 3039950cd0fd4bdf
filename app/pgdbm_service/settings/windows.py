"""The weekly windows in which a module may be migrated. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..api.common import Windows

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_WINDOW = re.compile(r"(?:(?P<days>[A-Za-z, -]+) )?(?P<start>[0-2]\d:[0-5]\d)-(?P<end>[0-2]\d:[0-5]\d)\Z")
_MIDNIGHT = "24:00"
_MOST_WINDOWS = 100
_HORIZON_DAYS = 9
# For windows that must be open at the same time: how often one may close before the next one opens.
_MOST_STEPS = 1000


class _Window(NamedTuple):
    """A window that opens on ``days`` (Monday is 0) at ``start``, for ``length`` by the wall clock."""

    days: frozenset[int]
    start: time
    length: timedelta


def check_windows(windows: Windows) -> None:
    """Check the texts of ``windows``.

    Raises:
        ValueError: there is no window, one does not have the form ``Mon-Fri 22:00-06:00``, or the time zone is unknown.
    """
    if not 0 < len(windows.open) <= _MOST_WINDOWS:
        raise ValueError(f"name 1 to {_MOST_WINDOWS} windows, such as 'Mon-Fri 22:00-06:00'")
    _zone(windows.time_zone)
    for text in windows.open:
        _parse(text)


def next_opening(all_of: Sequence[Windows], at: datetime) -> datetime | None:
    """The first time from ``at`` on at which all of ``all_of`` are open: ``at`` if they are; None if they never are."""
    for _ in range(_MOST_STEPS):
        opens = max((_next_opening(one, at) for one in all_of), default=at)
        if opens == at:
            return at
        at = opens
    return None


def _next_opening(windows: Windows, at: datetime) -> datetime:
    zone = _zone(windows.time_zone)
    today = at.astimezone(zone).date()
    opening: list[datetime] = []
    for text in windows.open:
        window = _parse(text)
        for offset in range(-1, _HORIZON_DAYS):
            day = today + timedelta(days=offset)
            if day.weekday() not in window.days:
                continue
            local = datetime.combine(day, window.start)
            starts = local.replace(tzinfo=zone).astimezone(UTC)
            ends = (local + window.length).replace(tzinfo=zone).astimezone(UTC)
            if starts <= at < ends:
                return at
            if starts > at:
                opening.append(starts)
    return min(opening)


def _parse(text: str) -> _Window:
    match = _WINDOW.match(text)
    if match is None or match["start"] >= _MIDNIGHT or match["end"] > _MIDNIGHT or match["start"] == match["end"]:
        raise ValueError(f"{text[:100]!r} is not a window such as 'Mon-Fri 22:00-06:00' or '01:00-05:00'")
    start = time.fromisoformat(match["start"])
    end = timedelta(days=1) if match["end"] == _MIDNIGHT else _since_midnight(time.fromisoformat(match["end"]))
    length = end - _since_midnight(start)
    if length < timedelta():
        length += timedelta(days=1)
    return _Window(frozenset(_days(match["days"], text)), start, length)


def _days(text: str | None, window: str) -> Iterator[int]:
    if text is None:
        yield from range(len(_DAYS))
        return
    for part in text.split(","):
        names = [name.strip().capitalize() for name in part.split("-")]
        if not 1 <= len(names) <= 2 or any(name not in _DAYS for name in names):
            raise ValueError(f"{window[:100]!r} has a day that is not one of {', '.join(_DAYS)}")
        first, last = _DAYS.index(names[0]), _DAYS.index(names[-1])
        yield from (day % len(_DAYS) for day in range(first, last + 1 + (len(_DAYS) if last < first else 0)))


def _since_midnight(at: time) -> timedelta:
    return timedelta(hours=at.hour, minutes=at.minute)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{name[:100]!r} is not a time zone such as 'Europe/Berlin'") from None
