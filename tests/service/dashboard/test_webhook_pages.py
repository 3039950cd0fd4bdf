"""The pages of webhooks, as a browser without JavaScript gets them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from tests.support.waiting import eventually

from .people import person, place_of, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .people import Person

pytestmark = pytest.mark.settings(auth="tokens", auth_failures_per_minute=10000)
URL = "https://hooks.example.com/pgdbm"


@pytest.fixture
def admin(service: Any, make_token: Any) -> Iterator[Person]:
    with person(service) as admin:
        admin.sign_in(make_token("admin", name="root-of-all"))
        yield admin


def test_a_webhook_is_disabled_and_enabled_and_both_are_in_the_audit(admin: Person, service: Any) -> None:
    made = service.post("/webhooks", headers=service.headers, json={"url": URL}).json()
    listed = admin.open("/ui/webhooks")
    assert URL in text_of(listed)
    assert made["secret"] not in listed.text
    path = f"/ui/webhooks/{made['id']}"
    assert f'href="{path}"' in listed.text
    assert made["secret"] not in admin.open(path).text
    assert f"Nothing is sent to {URL} until it is enabled again." in text_of(admin.open(f"{path}/disable"))
    assert service.get(f"/webhooks/{made['id']}", headers=service.headers).json()["is_enabled"] is True
    assert place_of(admin.send(f"{path}/disable")) == path
    assert "Nothing is sent: disabled by token:root-of-all." in text_of(admin.open(path))
    assert service.get(f"/webhooks/{made['id']}", headers=service.headers).json()["is_enabled"] is False
    assert place_of(admin.send(f"{path}/enable")) == path
    assert "Sends every event of every module." in text_of(admin.open(path))

    def recorded() -> list[tuple[str, str]]:
        entries = service.get("/audit", headers=service.headers).json()["items"]
        return [(one["principal"], one["path"]) for one in entries if one["path"].startswith("/ui/webhooks")]

    who, of = "token:root-of-all", "/ui/webhooks/{webhook_id}"
    eventually(lambda: recorded() == [(who, f"{of}/enable"), (who, f"{of}/disable")])


def test_only_an_admin_sees_webhooks_and_only_a_form_of_the_page_changes_one(
    admin: Person, service: Any, make_token: Any
) -> None:
    made = service.post("/webhooks", headers=service.headers, json={"url": URL}).json()
    path = f"/ui/webhooks/{made['id']}"
    with person(service) as reader:
        reader.sign_in(make_token("read", "migrate:*", name="ada"))
        assert "/ui/webhooks" not in reader.open("/ui").text
        for answer in (reader.open("/ui/webhooks"), reader.open(path), reader.send(f"{path}/disable")):
            assert answer.status_code == 403
    refused = admin.client.post(f"{path}/disable", headers={"Origin": "http://evil.example"})
    assert refused.status_code == 403
    assert service.get(f"/webhooks/{made['id']}", headers=service.headers).json()["is_enabled"] is True


def test_what_is_not_there_is_said(admin: Person, service: Any) -> None:
    assert "No webhook yet" in text_of(admin.open("/ui/webhooks"))
    made = service.post("/webhooks", headers=service.headers, json={"url": URL}).json()
    path = f"/ui/webhooks/{made['id']}"
    for unknown in (admin.open(f"/ui/webhooks/{uuid4()}"), admin.send(f"{path}/deliveries/{uuid4()}/redeliver")):
        assert unknown.status_code == 404
        assert "There is no webhook" in text_of(unknown)
    assert "Show the webhook" in text_of(admin.send(f"{path}/deliveries/{uuid4()}/redeliver"))
    assert admin.open(path, params={"status": "nonsense"}).status_code == 400
    assert "No delivery is dropped." in text_of(admin.open(path, params={"status": "dropped"}))
