"""The dashboard: what waits for a person, the plan, the buttons, and the freeze."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..dashboard.people import person, place_of, text_of
from ..running_service import eventually
from .conftest import APPROVALS, TABLE, WITH_TOKENS

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import People

pytestmark = WITH_TOKENS


def test_a_run_is_approved_on_its_page(
    repo: Any, people: People, make_token: Callable[..., str], sql: Callable[..., Any]
) -> None:
    repo.write("orders", APPROVALS, _001_a=TABLE)
    people.admin.post("/repo/sync")
    run = people.dev.migrate()
    page = f"/ui/runs/{run['id']}"
    service = people.dev.service
    with person(service) as lead:
        place_of(lead.sign_in(make_token("read", "approve:orders", name="anna")))
        overview = text_of(lead.open("/ui"))
        assert "waits for approval; requested by token:dev" in overview
        assert "A run waits for approval." in text_of(lead.open("/ui/modules/orders"))
        shown = lead.open(page)
        assert "Requested by token:dev; waiting for 1 approval." in text_of(shown)
        assert "001_a.sql" in text_of(shown)
        assert "Approve…" in text_of(shown)
        assert "Break the glass" not in text_of(shown)
        question = lead.open(f"{page}/approve")
        assert "001_a.sql" in text_of(question)
        fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', question.text))
        assert fields == {"plan": run["approval"]["plan"]}
        # The digest of another plan is refused.
        assert lead.send(f"{page}/approve", plan="sha256:" + 64 * "0").status_code == 409
        assert place_of(lead.send(f"{page}/approve", **fields, reason="read it")) == page
        ended = people.dev.ended(run)
        assert (ended["status"], ended["approval"]["approved_by"][0]["reason"]) == ("succeeded", "read it")
        assert "token:anna" in text_of(lead.open(page))


def test_who_asked_cannot_decide_on_the_page(repo: Any, people: People, make_token: Callable[..., str]) -> None:
    repo.write("orders", APPROVALS, _001_a=TABLE)
    people.admin.post("/repo/sync")
    with person(people.dev.service) as boss:
        place_of(boss.sign_in(make_token("admin", name="boss")))
        run = boss.send("/ui/modules/orders/migrate").headers["location"]
        shown = text_of(boss.open(run))
        assert "You requested it: someone else has to decide." in shown
        assert "Approve…" not in shown
        assert boss.send(f"{run}/reject").status_code == 403
        assert boss.open(f"{run}/break-glass").status_code == 200
        assert boss.send(f"{run}/break-glass").status_code == 400
        assert place_of(boss.send(f"{run}/break-glass", reason="outage")) == run
        ended = people.dev.ended({"id": run.rsplit("/", 1)[1]})
        assert (ended["status"], ended["break_glass"]["reason"]) == ("succeeded", "outage")
        assert "let it start in an emergency" in text_of(boss.open(run))

        def broken() -> list[Any]:
            entries = people.admin.get("/audit").json()["items"]
            return [one for one in entries if one["path"].endswith("/break-glass")]

        # Those that were refused, and a single one that was not.
        eventually(lambda: [one["http_status"] for one in broken()] == [200, 400])
        assert broken()[0]["reason"] == "outage"


def test_a_run_is_rejected_on_its_page(repo: Any, people: People, make_token: Callable[..., str]) -> None:
    repo.write("orders", APPROVALS, _001_a=TABLE)
    people.admin.post("/repo/sync")
    run = people.dev.migrate()
    page = f"/ui/runs/{run['id']}"
    with person(people.dev.service) as reader:
        place_of(reader.sign_in(make_token("read")))
        assert "requires the scope approve:orders" in text_of(reader.open(page))
        assert reader.open(f"{page}/approve").status_code == 403
        assert reader.send(f"{page}/approve", plan=run["approval"]["plan"]).status_code == 403
    with person(people.dev.service) as lead:
        place_of(lead.sign_in(make_token("read", "approve:*", name="bert")))
        assert "Reject the run of orders?" in text_of(lead.open(f"{page}/reject"))
        assert place_of(lead.send(f"{page}/reject", reason="not today")) == page
        assert people.dev.run(run)["status"] == "cancelled"
        assert "not today" in text_of(lead.open(page))


def test_freezes_are_shown(repo: Any, people: People, make_token: Callable[..., str]) -> None:
    repo.write("orders", _001_a=TABLE)
    people.admin.post("/repo/sync")
    assert people.admin.send("PUT", "/freeze", {"reason": "the sale is on"}).status_code == 200
    assert people.lead.get("/overview").json()["freezes"][0]["reason"] == "the sale is on"
    run = people.dev.migrate()
    eventually(lambda: people.dev.run(run)["status"] == "held")
    with person(people.dev.service) as lead:
        place_of(lead.sign_in(make_token("read")))
        assert "All modules are frozen by token:admin: the sale is on" in text_of(lead.open("/ui"))
        for page in (f"/ui/runs/{run['id']}", "/ui/modules/orders", "/ui/runs?status=held"):
            assert "orders is frozen by token:admin: the sale is on." in text_of(lead.open(page)), page
