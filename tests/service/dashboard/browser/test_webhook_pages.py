"""Webhooks in a browser: from the list to the answer of a receiver, and to what is sent again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.waiting import eventually

from ...webhooks.receiver import receiving
from .test_appearance import TABLE, violations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ...webhooks.receiver import Receiver
    from ..conftest import Clicks

    Visit = Callable[..., Any]

pytestmark = pytest.mark.settings(webhook_private_addresses=True)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


def create(service: Any, url: str, **fields: Any) -> str:
    answer = service.post("/webhooks", json={"url": url} | fields)
    assert answer.status_code == 201, answer.text
    made: str = answer.json()["id"]
    return made


def migrated(service: Any, repo: Any, module: str) -> None:
    repo.write(module, _001_a=TABLE)
    service.sync()
    assert service.post(f"/modules/{module}/migrate").status_code == 200


def test_what_was_not_accepted_is_found_and_sent_now(
    visit: Visit, click: Clicks, service: Any, repo: Any, receiver: Receiver
) -> None:
    # The first pauses are two and four seconds: the last attempt is made by the click.
    receiver.statuses = [503] * 3
    create(service, receiver.url, events=["run.succeeded"], modules="ord*")
    migrated(service, repo, "orders")
    eventually(lambda: len(receiver.received) == 3)
    page = visit("/ui")
    click(page.get_by_role("link", name="Webhooks"))
    row = page.get_by_role("row", name="/hooks/1?team=a")
    row.get_by_text("failing").wait_for()
    assert "run.succeeded of ord*" in row.inner_text()
    assert "retrying run.succeeded" in " ".join(row.inner_text().split())
    click(row.get_by_role("link"))
    page.get_by_text("none has been accepted since").wait_for()
    delivery = page.get_by_role("row", name="run.succeeded of orders")
    delivery.get_by_text("the receiver answered 503").wait_for()
    assert "next attempt in" in delivery.inner_text()
    click(delivery.get_by_role("button", name="Send now: run.succeeded of orders"))
    delivery.get_by_text("delivered").wait_for()
    assert "204" in delivery.inner_text()
    page.locator("#webhook .row").get_by_text("active").wait_for()
    assert receiver.events == ["run.succeeded"]
    assert click.count <= 3
    # The same delivery again.
    page.get_by_role("button", name="Send again: run.succeeded of orders").click()
    eventually(lambda: len(receiver.accepted) == 2)
    assert len({one.id for one in receiver.accepted}) == 1


def test_a_webhook_is_disabled_and_sends_what_it_kept_once_it_is_enabled(
    visit: Visit, service: Any, repo: Any, receiver: Receiver
) -> None:
    webhook = create(service, receiver.url, events=["run.succeeded"])
    page = visit(f"/ui/webhooks/{webhook}")
    page.get_by_text("There has been nothing to send yet").wait_for()
    receiver.statuses = [503] * 2
    migrated(service, repo, "before")
    page.get_by_role("row", name="run.succeeded of before").get_by_text("retrying").wait_for()
    page.get_by_role("link", name="Disable…").click()
    page.get_by_text("Events of runs in the meantime are not kept for it.").wait_for()
    page.get_by_role("button", name="Disable the webhook").click()
    page.get_by_text("Nothing is sent: disabled by").wait_for()
    page.get_by_text("waits until it is enabled").wait_for()
    migrated(service, repo, "between")
    page.get_by_role("link", name="delivered", exact=True).click()
    page.get_by_text("No delivery is delivered.").wait_for()
    receiver.statuses = []
    page.get_by_role("button", name="Enable").click()
    page.get_by_role("row", name="run.succeeded of before").get_by_text("delivered").wait_for()
    migrated(service, repo, "after")
    page.get_by_role("row", name="run.succeeded of after").get_by_text("delivered").wait_for()
    assert [one.body["data"]["module"] for one in receiver.accepted] == ["before", "after"]


def test_a_webhook_is_created_and_deleted(visit: Visit, service: Any, receiver: Receiver, pictures: Path) -> None:
    page = visit("/ui/webhooks", bypass_csp=True)
    page.get_by_role("link", name="New webhook…").click()
    page.get_by_label("URL").fill(receiver.url)
    for event in ("run.queued", "run.waiting"):
        page.get_by_label(event).uncheck()
    page.get_by_label("Modules").fill("ord*")
    assert violations(page) == []
    page.screenshot(path=pictures / "webhook-new-light.png", full_page=True)
    page.get_by_role("button", name="Create the webhook").click()
    page.get_by_text("Copy the secret now: it is not shown again.").wait_for()
    assert page.get_by_label("The secret").input_value().startswith("whsec_")
    assert violations(page) == []
    page.get_by_role("link", name="Show the webhook").click()
    page.get_by_text("Sends run.blocked, run.succeeded,").wait_for()
    page.get_by_role("link", name="Delete…").click()
    # What cannot be undone is not a key away.
    page.wait_for_url("**/delete")
    assert page.evaluate("document.activeElement.textContent") == "Back"
    page.get_by_role("button", name="Delete the webhook").click()
    page.get_by_text("No webhook yet.").wait_for()
    assert service.get("/webhooks").json()["items"] == []


def test_a_first_webhook_is_created_with_a_command_that_fits_a_phone(visit: Visit, service: Any) -> None:
    page = visit("/ui/webhooks", viewport={"width": 390, "height": 800}, bypass_csp=True)
    page.get_by_text("No webhook yet.").wait_for()
    assert f"curl {service.url}/webhooks -d " in " ".join(page.locator(".command-line").inner_text().split())
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert violations(page) == []
