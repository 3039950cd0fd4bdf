"""What followers of a run receive."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pgdbm_service.runs.queries import EventRow
from pgdbm_service.runs.streams import RunStream

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def events(*numbers: int) -> list[EventRow]:
    return [EventRow(number=number, kind="step", data={}, at=NOW) for number in numbers]


def stream_of(*numbers: int, after: int = 0) -> RunStream:
    stream = RunStream(after, has_ended=False)
    stream.add(events(*numbers))
    return stream


@pytest.mark.parametrize(("after", "expected"), [(3, [4, 5]), (4, [5]), (5, []), (2, [3, 4, 5])])
def test_the_events_after_a_number(after: int, expected: list[int]) -> None:
    found = stream_of(3, 4, 5, after=2).since(after)
    assert found is not None
    assert [one.number for one in found] == expected


def test_events_before_the_kept_ones_are_in_the_table() -> None:
    assert stream_of(3, 4, 5, after=2).since(1) is None
    many = stream_of(*range(1, 2502))
    assert many.since(500) is None
    found = many.since(501)
    assert found is not None
    assert [one.number for one in found] == list(range(502, 2502))


def test_the_newest_events_are_found_without_reading_the_others() -> None:
    """Every follower of a run with thousands of events reads them after each change."""
    read = []

    class Counted(EventRow):
        def __getattribute__(self, name: str) -> object:
            if name == "number":
                read.append(self)
            return super().__getattribute__(name)

    stream = RunStream(0, has_ended=False)
    stream.add([Counted(number=number, kind="step", data={}, at=NOW) for number in range(1, 1001)])
    read.clear()
    assert len(stream.since(998) or ()) == 2
    assert len(read) <= 5
