"""What forms lead to, questions, errors, approvals and freezes: accessible in either theme, and on a phone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ...blocked_runs import holding
from ...running_service import bearer
from .test_appearance import ASYNC, TABLE, violations

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Visit = Callable[..., Any]

COLUMN = "ALTER TABLE {{tables.t}} ADD COLUMN a integer"
APPROVALS = 'approvals = {count = 1, when = "always"}\n'


@pytest.mark.settings(auth="tokens", auth_failures_per_minute=10000)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_they_are_accessible_fit_a_phone_and_have_their_pictures(
    visit: Visit, service: Any, repo: Any, database: str, make_token: Any, pictures: Path, scheme: str
) -> None:
    def see(page: Any, name: str) -> None:
        size = "" if page.viewport_size["width"] > 600 else "-phone"
        page.screenshot(path=pictures / f"{name}-{scheme}{size}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"], name
        assert violations(page) == [], name

    dev, boss = bearer(make_token("admin", name="dev")), make_token("admin", name="boss")
    repo.write("changed", _001_a=TABLE)
    repo.write("frozen", _001_a=TABLE)
    repo.write("m", _001_a=TABLE)
    repo.write("orders", APPROVALS, _001_a=TABLE)
    service.post("/repo/sync", headers=dev)
    for module in ("changed", "m"):
        assert service.post(f"/modules/{module}/migrate", headers=dev).status_code == 200
    repo.write("changed", _001_a=TABLE.replace("integer", "bigint"))
    repo.write("m", _002_b=COLUMN)
    service.post("/repo/sync", headers=dev)
    waiting = service.post("/modules/orders/migrate", headers=dev | ASYNC).headers["location"]
    freeze = {"modules": "frozen", "reason": "The month is closed."}
    assert service.client.put("/freeze", headers=dev, json=freeze).status_code == 200
    held = service.post("/modules/frozen/migrate", headers=dev | ASYNC).headers["location"]
    with holding(database, "LOCK TABLE m.t IN ACCESS SHARE MODE", "reporting") as pid:
        blocked = service.post("/modules/m/migrate", headers=dev | ASYNC, json={"lock_timeout_ms": 60_000})
        places = {
            "overview-frozen": "/ui",
            "run-held": f"/ui{held}",
            "run-waiting": f"/ui{waiting}",
            "approve": f"/ui{waiting}/approve",
            "reject": f"/ui{waiting}/reject",
            "break-glass": f"/ui{waiting}/break-glass",
            "changed": "/ui/modules/changed?tab=changed",
            "accept": "/ui/modules/changed/accept",
            "resolve": "/ui/modules/m/resolve?filename=002_b.sql&statement=1",
            "migrate-all": "/ui/migrate",
            "unknown": "/ui/modules/nothing",
        }
        for width in (1280, 390):
            viewport = {"width": width, "height": 800}
            # The answers to the pages that do not exist are errors, which the browser logs.
            page = visit("/ui/sign-in", may_fail=True, bypass_csp=True, color_scheme=scheme, viewport=viewport)
            page.get_by_label("Token").fill(boss)
            page.keyboard.press("Enter")
            page.get_by_role("link", name="token:boss").wait_for()
            for name, path in places.items():
                page.goto(path)
                assert page.locator("main h1, main h2").first.is_visible()
                see(page, name)
            page.goto(f"/ui{blocked.headers['location']}")
            page.get_by_role("button", name="End this session…").click()
            page.get_by_text(f"Process id {pid}").wait_for()
            see(page, "end-session")
            page.goto("/ui/modules/orders")
            page.get_by_role("button", name="Dry run").click()
            page.get_by_text("Nothing was executed.").wait_for()
            see(page, "dry-run")
            page.goto("/ui/modules/orders")
            page.get_by_role("button", name="Rehearse").click()
            page.get_by_text("The rehearsal succeeded").wait_for()
            see(page, "rehearsal")


def test_the_list_of_runs_is_followed(visit: Visit, service: Any, repo: Any) -> None:
    page = visit("/ui/runs")
    page.get_by_text("No run yet.").wait_for()
    page.get_by_text("live", exact=True).wait_for()
    failed = visit("/ui/runs?status=failed")
    failed.get_by_text("No run matches.").wait_for()
    repo.write("m", _001_a=TABLE)
    service.sync()
    assert service.post("/modules/m/migrate").status_code == 200
    row = page.get_by_role("row", name="m succeeded")
    row.wait_for()
    repo.write("m", _002_b="SELECT nothing_there")
    service.sync()
    service.post("/modules/m/migrate")
    page.get_by_role("row", name="002_b.sql:1:8").wait_for()
    failed.get_by_role("row", name="002_b.sql:1:8").wait_for()
    assert failed.get_by_role("row").count() == 2
