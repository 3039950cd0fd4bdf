"""Events of a run, for its listener."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pgdbm.migrations.engine.announcer import Announcer

if TYPE_CHECKING:
    import pytest

    from pgdbm.migrations.engine.events import Event


def test_a_listener_gets_each_event_with_its_details() -> None:
    received: list[Event] = []
    announcer = Announcer("app", "shop", received.append)
    before = datetime.now(UTC)
    announcer.emit("statement_ended", "001.sql", 1, 2, execution_time_ms=7)
    (event,) = received
    assert (event.kind, event.schema, event.module) == ("statement_ended", "app", "shop")
    assert (event.filename, event.statement, event.statements) == ("001.sql", 1, 2)
    assert event.details == {"execution_time_ms": 7}
    assert before <= event.at <= datetime.now(UTC)


def test_without_a_listener_nothing_happens() -> None:
    announcer = Announcer("app", "shop", None)
    assert not announcer.has_listener
    announcer.emit("run_started")


def test_a_listener_that_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_event: Event) -> None:
        raise ValueError("broken listener")

    announcer = Announcer("app", "shop", fail)
    with caplog.at_level(logging.ERROR, "pgdbm.migrations"):
        announcer.emit("run_started")
    assert "broken listener" in caplog.text
