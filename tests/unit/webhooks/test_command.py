"""The command for webhooks knows every event."""

from __future__ import annotations

from typing import get_args

from pgdbm_service.api.webhooks import WebhookEvent
from pgdbm_service.commands import webhooks


def test_the_events_of_the_command_are_those_of_the_api() -> None:
    # The command does not import the API for --help.
    assert get_args(WebhookEvent) == webhooks._EVENTS
