"""The page of a module in a browser, while runs change the module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.waiting import eventually

from ...blocked_runs import holding

if TYPE_CHECKING:
    from collections.abc import Callable

    Visit = Callable[..., Any]

TABLE = "CREATE TABLE {{tables.t}} (id integer PRIMARY KEY)"
COLUMN = "ALTER TABLE {{tables.t}} ADD COLUMN a integer"
ASYNC = {"Prefer": "respond-async"}
PLANNED = "[...document.querySelectorAll('#module-work h2')].map((title) => title.textContent.trim())"
APPLIED = "[...document.querySelectorAll('#module-work .timeline .name')].map((name) => name.textContent)"
BADGE = "document.querySelector('#module-head .state').textContent.trim()"


def write_two_pending(service: Any, repo: Any) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    assert service.post("/modules/m/migrate").status_code == 200
    repo.write("m", _002_b="SELECT 2", _003_c=COLUMN)
    service.sync()


def test_the_plan_follows_a_run(visit: Visit, service: Any, repo: Any, database: str) -> None:
    write_two_pending(service, repo)
    page = visit("/ui/modules/m?tab=plan")
    page.get_by_text("live", exact=True).wait_for()
    assert page.evaluate(PLANNED) == ["002_b.sql", "003_c.sql"]
    assert page.evaluate(BADGE) == "pending"
    page.evaluate("window.isSamePage = true")
    with holding(database, "LOCK TABLE m.t IN ACCESS SHARE MODE", "reporting"):
        service.post("/modules/m/migrate", headers=ASYNC, json={"lock_timeout_ms": 60_000})
        page.get_by_text("A run is in progress.").wait_for()
        eventually(lambda: page.evaluate(PLANNED) == ["003_c.sql"])
        eventually(lambda: page.evaluate(BADGE) == "blocked")
        page.get_by_text("waits for a lock on m.t").wait_for()
    page.get_by_text("Nothing is pending in schema m.").wait_for()
    eventually(lambda: page.evaluate(BADGE) == "up to date")
    assert page.get_by_role("button", name="Migrate…").count() == 0
    assert page.evaluate("window.isSamePage")


def test_the_history_follows_a_run(visit: Visit, service: Any, repo: Any, database: str) -> None:
    write_two_pending(service, repo)
    page = visit("/ui/modules/m?tab=history&schema=m")
    page.get_by_text("live", exact=True).wait_for()
    assert page.evaluate(APPLIED) == ["001_a.sql"]
    page.evaluate("window.isSamePage = true")
    with holding(database, "LOCK TABLE m.t IN ACCESS SHARE MODE", "reporting"):
        service.post("/modules/m/migrate", headers=ASYNC, json={"lock_timeout_ms": 60_000})
        eventually(lambda: page.evaluate(APPLIED) == ["002_b.sql", "001_a.sql"])
    eventually(lambda: page.evaluate(APPLIED) == ["003_c.sql", "002_b.sql", "001_a.sql"])
    assert page.evaluate("window.isSamePage")


def test_it_pauses_while_text_is_selected_and_nothing_is_missed(visit: Visit, service: Any, repo: Any) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    page = visit("/ui/modules/m?tab=plan")
    page.get_by_text("live", exact=True).wait_for()
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#module-work pre'))")
    page.get_by_text("paused while text is selected").wait_for()
    page.evaluate("document.addEventListener('htmx:sse:before:message', (event) => { window.came = event.type; })")
    assert service.post("/modules/m/migrate").status_code == 200
    eventually(lambda: page.evaluate("window.came"))
    assert page.evaluate(PLANNED) == ["001_a.sql"]
    page.evaluate("getSelection().removeAllRanges()")
    page.get_by_text("Nothing is pending in schema m.").wait_for()


def test_a_tab_that_is_not_about_runs_keeps_its_content(visit: Visit, service: Any) -> None:
    for content in ("SELECT 1", "SELECT 2"):
        body = {"migrations": [{"filename": "001_a.sql", "content": content}]}
        assert service.client.put("/modules/search", json=body).status_code == 201
    page = visit("/ui/modules/search?tab=bundles")
    page.get_by_text("live", exact=True).wait_for()
    second = page.locator("input[name=after]").nth(1)
    second.check()
    assert service.post("/modules/search/migrate").status_code == 200
    eventually(lambda: page.evaluate(BADGE) == "up to date")
    assert second.is_checked()
