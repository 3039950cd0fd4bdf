"""Webhooks in the settings of the service: shown over HTTP, and changed in the settings only."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from pgdbm_service.settings import SettingsError, read_settings
from pgdbm_service.settings.webhooks import WebhookSetting

from .receiver import is_signed, receiving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .receiver import Receiver

TABLE = "CREATE TABLE {{tables.t}} (id int)"
URL = "https://hooks.example.com/hunter2"


def secret_of(byte: bytes) -> str:
    return f"whsec_{base64.b64encode(byte * 32).decode()}"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


def test_a_webhook_in_the_settings_is_sent_to_and_not_changed_over_http(
    start: Callable[..., Any], repo: Any, receiver: Receiver, tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{secret_of(b'a')}\n")
    ours = WebhookSetting(name="ours", url=receiver.url, secret_file=file, events=["run.succeeded"], modules="m*")
    chat = WebhookSetting(name="chat", url=receiver.url, events=["run.failed"], format="slack")
    repo.write("m", _001_a=TABLE)
    service = start(webhook_private_addresses=True, webhooks=[ours, chat], max_webhooks=0)
    shown = eventually(lambda: service.client.get("/webhooks").json()["items"])
    assert [(one["name"], one["url"], one["created_by"]) for one in shown] == [
        ("ours", receiver.url, "the settings"),
        ("chat", receiver.url, "the settings"),
    ]
    service.client.post("/modules/m/migrate")
    eventually(lambda: receiver.events == ["run.succeeded"])
    assert is_signed(secret_of(b"a"), *receiver.raw[0])
    path = f"/webhooks/{shown[0]['id']}"
    for body in (
        {"url": receiver.url},
        {"new_secret": True},
        {"is_enabled": False},
        {"is_enabled": True, "modules": "*"},
    ):
        answer = service.client.patch(path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (409, "webhook_in_settings"), body
    answer = service.client.delete(path)
    assert (answer.status_code, answer.json()["code"]) == (409, "webhook_in_settings")
    assert service.client.patch(path, json={"is_enabled": True}).status_code == 200
    assert service.client.get("/webhooks").json()["items"] == shown


def test_a_start_with_other_settings_changes_and_deletes_webhooks(
    start: Callable[..., Any], repo: Any, receiver: Receiver, tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    file = tmp_path / "secret"
    file.write_text(secret_of(b"a"))
    ours = {"name": "ours", "url": receiver.url, "secret_file": file}
    usual = {"webhook_private_addresses": True}
    first = start(webhooks=[WebhookSetting(**ours), WebhookSetting(**ours | {"name": "old"})], **usual)
    (made, _) = eventually(lambda: first.client.get("/webhooks").json()["items"])
    by_hand = first.client.post("/webhooks", json={"url": receiver.url, "events": ["run.failed"]}).json()
    file.write_text(secret_of(b"b"))
    second = start(webhooks=[WebhookSetting(**ours, events=["run.succeeded"])], **usual)
    found = eventually(lambda: len(some := second.client.get("/webhooks").json()["items"]) == 2 and some)
    assert [one["id"] for one in found] == [made["id"], by_hand["id"]]
    repo.write("m", _001_a=TABLE)
    second.client.post("/repo/sync")
    second.client.post("/modules/m/migrate")
    eventually(lambda: receiver.events == ["run.succeeded"])
    # Both, so that the receiver can be changed at any time.
    assert is_signed(secret_of(b"a"), *receiver.raw[0])
    assert is_signed(secret_of(b"b"), *receiver.raw[0])
    third = start(**usual)
    eventually(lambda: [one["id"] for one in third.client.get("/webhooks").json()["items"]] == [by_hand["id"]])


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("nothing", "not JSON"),
        (f'[{{"name": "a", "url": "{URL}", "format": "fax"}}]', "format"),
        (f'[{{"name": "a", "url": "{URL}"}}]', "a: set secret_file or secret_variable"),
        (f'[{{"name": "a", "url": "{URL}", "secret_file": "/nowhere"}}]', "/nowhere"),
        (f'[{{"name": "a", "url": "{URL}", "secret_variable": "NOWHERE"}}]', "whsec_"),
        (f'[{{"name": "a", "url": "http{URL[5:]}", "format": "slack"}}]', "https://"),
        (
            f'[{{"name": "a", "url": "{URL}", "format": "slack"}}, {{"name": "a", "url": "{URL}", "format": "slack"}}]',
            "twice",
        ),
    ],
)
def test_bad_webhooks_are_refused_without_showing_their_urls(text: str, named: str) -> None:
    with pytest.raises(SettingsError, match="PGDBM_WEBHOOKS") as caught:
        read_settings({"DATABASE_URL": "postgresql://u@h/x", "PGDBM_WEBHOOKS": text})
    assert named in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)
