"""The texts for chat programs."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from pgdbm_service.features.webhooks.formats import body_of

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def text_of(event: Any, data: dict[str, Any]) -> str:
    document = json.loads(body_of("slack", event, "orders", None, data, NOW, None))
    return str(document["text"])


@pytest.mark.parametrize(
    ("application_name", "expected"),
    [
        ("reporting", "orders is blocked: it is waiting for the session with pid 4711 (reporting)."),
        (None, "orders is blocked: it is waiting for the session with pid 4711 (-)."),
    ],
)
def test_a_blocked_run_names_the_session(application_name: str | None, expected: str) -> None:
    waits = [{"pid": 4711, "application_name": application_name}]
    assert text_of("run.blocked", {"waiting_for": waits}).endswith(expected)
