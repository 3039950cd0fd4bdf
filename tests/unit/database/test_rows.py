"""Rows that a statement cannot return are an outage, and no failure of the service."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from pgdbm_service.database.failures import is_not_understood, service_error_of
from pgdbm_service.database.rows import UnreadableRowsError, numbered, reading_rows, watching_unreadable
from pgdbm_service.status.applied_sets import AppliedSet, AppliedSets

if TYPE_CHECKING:
    from collections.abc import Callable


def test_the_numbered_item() -> None:
    assert [numbered("ab", {"number": number}) for number in (0, 1)] == ["a", "b"]
    assert [numbered("ab", {"number": number}, first=1) for number in (1, 2)] == ["a", "b"]


@pytest.mark.parametrize("row", [{"number": -1}, {"number": 2}, {"number": None}, {"number": "0"}, {"numbeR": 0}])
def test_there_is_no_item_of_another_number(row: dict[str, object]) -> None:
    with pytest.raises(UnreadableRowsError), reading_rows():
        numbered("ab", row)


def test_the_watchers_are_called_once_for_each_block() -> None:
    calls: list[str] = []
    with watching_unreadable(lambda: calls.append("unreadable")):
        for text in ('{"a": 1}', '{"a" 1}', "[]"):
            with suppress(UnreadableRowsError), reading_rows():
                assert msgspec.json.decode(text)["a"] == 1
        assert calls == ["unreadable"] * 2
        # An error that exists, and is not raised, is none that anything has to be done about.
        UnreadableRowsError("not raised")
        assert calls == ["unreadable"] * 2
    with suppress(UnreadableRowsError), reading_rows():
        numbered("", {"number": 0})
    assert calls == ["unreadable"] * 2


class Answers:
    """A database whose answers are these rows."""

    def __init__(self, *rows: dict[str, Any]) -> None:
        self._rows = rows

    async def fetch_all(self, *_: object) -> list[dict[str, Any]]:
        return [dict(row) for row in self._rows]


@pytest.mark.parametrize("number", [0, 2, -1])
async def test_a_schema_that_was_not_asked_for(number: int) -> None:
    ask: Callable[..., Any] = AppliedSets()._ask
    keys = [("m", "app")]
    row = {"number": 1, "digest": "x"}
    assert await ask(Answers(row), "applied_set_digest", "as_text", keys, []) == [(("m", "app"), row)]
    with pytest.raises(UnreadableRowsError):
        await ask(Answers({"number": number, "digest": "x"}), "applied_set_digest", "as_text", keys, [])


def decoded() -> None:
    msgspec.json.decode('{"a" 1}')


def column() -> None:
    with reading_rows():
        {"a": 1}["b"]


def field() -> None:
    row: dict[str, Any] = {"Applied": ()}
    with reading_rows():
        AppliedSet(**row)


@pytest.mark.parametrize("read", [decoded, column, field])
def test_what_does_not_fit_is_an_outage(read: Callable[[], None]) -> None:
    with pytest.raises(Exception) as caught:
        read()
    assert is_not_understood(caught.value)
    problem = service_error_of(caught.value)
    assert problem.code == "database_unavailable"
    assert "could not be understood" in problem.detail


def test_a_failure_of_the_service_is_no_outage() -> None:
    assert not is_not_understood(KeyError("number"))
    assert service_error_of(KeyError("number")).code == "internal_error"
