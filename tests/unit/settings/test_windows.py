"""Weekly windows: when they open next, over midnight, at the ends of daylight saving time, and together."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pgdbm_service.api.common import Windows
from pgdbm_service.settings.windows import check_windows, next_opening


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


NIGHTS = Windows(open=("Mon-Thu 22:00-06:00",), time_zone="Europe/Berlin")


# 2026-11-30 is a Monday; Berlin is an hour ahead of UTC in winter, and two in summer.
@pytest.mark.parametrize(
    ("windows", "now", "opening"),
    [
        (NIGHTS, "2026-11-30 20:59:59", "2026-11-30 21:00"),
        (NIGHTS, "2026-11-30 21:00", "2026-11-30 21:00"),
        # The window of Thursday ends on Friday; that of Friday does not exist.
        (NIGHTS, "2026-12-04 04:59", "2026-12-04 04:59"),
        (NIGHTS, "2026-12-04 05:00", "2026-12-07 21:00"),
        (Windows(open=("Sat-Mon 00:00-24:00",)), "2026-11-30 23:59:59", "2026-11-30 23:59:59"),
        (Windows(open=("Sat-Mon 00:00-24:00",)), "2026-12-01 00:00", "2026-12-05 00:00"),
        (Windows(open=("sat, sun 01:00-02:00", "12:00-12:01")), "2026-12-05 00:30", "2026-12-05 01:00"),
        (Windows(open=("sat, sun 01:00-02:00", "12:00-12:01")), "2026-12-05 03:00", "2026-12-05 12:00"),
        # 02:30 does not exist on the day on which the clock is put forward, and exists twice when it is put back.
        (Windows(open=("02:30-02:45",), time_zone="Europe/Berlin"), "2026-03-29 00:00", "2026-03-29 01:30"),
        (Windows(open=("02:30-03:30",), time_zone="Europe/Berlin"), "2026-10-25 00:00", "2026-10-25 00:30"),
        (Windows(open=("02:30-03:30",), time_zone="Europe/Berlin"), "2026-10-25 02:15", "2026-10-25 02:15"),
    ],
)
def test_next_opening(windows: Windows, now: str, opening: str) -> None:
    assert next_opening([windows], at(now)) == at(opening)


def test_all_must_be_open() -> None:
    weekend = Windows(open=("Sat,Sun 00:00-24:00",))
    mornings = Windows(open=("06:00-08:00",))
    assert next_opening([weekend, mornings], at("2026-11-30 07:00")) == at("2026-12-05 06:00")
    assert next_opening([], at("2026-11-30 07:00")) == at("2026-11-30 07:00")
    never = [Windows(open=("01:00-02:00",)), Windows(open=("03:00-04:00",))]
    assert next_opening(never, at("2026-11-30 07:00")) is None


@pytest.mark.parametrize(
    "text",
    ["", "Mon", "22:00", "Mon 22:00-22:00", "Mon 24:00-25:00", "Mon 9:00-10:00", "Mo 01:00-02:00", "Mon- 01:00-02:00"],
)
def test_what_is_no_window(text: str) -> None:
    with pytest.raises(ValueError, match=r"window|day"):
        check_windows(Windows(open=(text,)))


def test_what_is_no_time_zone() -> None:
    for name in ("Europe/Nowhere", "", "../etc/passwd", "/etc/localtime"):
        with pytest.raises(ValueError, match="time zone"):
            check_windows(Windows(open=("01:00-02:00",), time_zone=name))
    with pytest.raises(ValueError, match="name 1 to"):
        check_windows(Windows(open=()))
