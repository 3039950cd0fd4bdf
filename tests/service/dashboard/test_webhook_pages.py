"""The pages of webhooks, as a browser without JavaScript gets them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from pgdbm_service.api.webhooks import ALL_EVENTS
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


def test_a_webhook_is_created_with_its_secret_shown_once_and_deleted(admin: Person, service: Any) -> None:
    assert 'href="/ui/webhooks/new"' in admin.open("/ui/webhooks").text
    assert f'name="{ALL_EVENTS[0]}" checked' in admin.open("/ui/webhooks/new").text
    fields = {"url": URL, "modules": "orders*", "format": "standard", "blocked_after_s": "2.5"}
    page = admin.send("/ui/webhooks", **fields, **{"run.failed": "on", "run.blocked": "on"})
    assert page.status_code == 201
    assert page.headers["cache-control"] == "no-store"
    (secret,) = re.findall(r'value="(whsec_[^"]+)"', page.text)
    (made,) = service.get("/webhooks", headers=service.headers).json()["items"]
    expected = {"url": URL, "modules": "orders*", "blocked_after_s": 2.5, "created_by": "token:root-of-all"}
    assert {name: made[name] for name in expected} == expected
    # In the order of the API.
    assert made["events"] == ["run.blocked", "run.failed"]
    path = f"/ui/webhooks/{made['id']}"
    for shown in (admin.open("/ui/webhooks"), admin.open(path)):
        assert URL in shown.text
        assert secret not in shown.text
    assert f'href="{path}/delete"' in admin.open(path).text
    assert f"Nothing more is sent to {URL}." in text_of(admin.open(f"{path}/delete"))
    assert len(service.get("/webhooks", headers=service.headers).json()["items"]) == 1
    assert place_of(admin.send(f"{path}/delete")) == "/ui/webhooks"
    assert service.get("/webhooks", headers=service.headers).json()["items"] == []
    assert admin.send(f"{path}/delete").status_code == 404


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"url": ""}, "Give a URL that begins with https://, without spaces."),
        ({"url": "https://a b"}, "Give a URL that begins with https://, without spaces."),
        ({"url": "http://hooks.example.com"}, "It must begin with https://, without a user."),
        ({"run.failed": ""}, "Choose at least one event."),
        ({"modules": "or[ders]"}, "Use letters, digits, dots, hyphens and underscores, with * and ? as wildcards."),
        ({"blocked_after_s": "soon"}, "Give seconds, up to a day (86400)."),
        ({"blocked_after_s": "nan"}, "Give seconds, up to a day (86400)."),
        ({"format": "fax"}, "Invalid enum value 'fax'"),
        ({"url": "javascript:<script>alert(1)</script>"}, "It must begin"),
    ],
)
def test_what_cannot_be_a_webhook_is_said_at_its_field(
    admin: Person, service: Any, fields: dict[str, str], message: str
) -> None:
    given = {"url": URL, "run.failed": "on", "modules": "*", "format": "standard", "blocked_after_s": "60"} | fields
    page = admin.send("/ui/webhooks", **given)
    assert page.status_code == 400
    assert message in text_of(page)
    assert 'aria-invalid="true"' in page.text
    assert "<script>alert" not in page.text
    assert service.get("/webhooks", headers=service.headers).json()["items"] == []


def test_only_an_admin_sees_webhooks_and_only_a_form_of_the_page_changes_one(
    admin: Person, service: Any, make_token: Any
) -> None:
    made = service.post("/webhooks", headers=service.headers, json={"url": URL}).json()
    path = f"/ui/webhooks/{made['id']}"
    with person(service) as reader:
        reader.sign_in(make_token("read", "migrate:*", name="ada"))
        assert "/ui/webhooks" not in reader.open("/ui").text
        for page in ("/ui/webhooks", "/ui/webhooks/new", path, f"{path}/disable", f"{path}/delete"):
            assert reader.open(page).status_code == 403
        for form in ("/ui/webhooks", f"{path}/disable", f"{path}/delete"):
            assert reader.send(form, url=URL).status_code == 403
    for form in ("/ui/webhooks", f"{path}/disable", f"{path}/delete"):
        refused = admin.client.post(form, data={"url": URL}, headers={"Origin": "http://evil.example"})
        assert refused.status_code == 403
    assert len(service.get("/webhooks", headers=service.headers).json()["items"]) == 1
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
