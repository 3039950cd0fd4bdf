"""The dashboard in a real browser, as people use it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.waiting import eventually

from ...blocked_runs import blocked_run

if TYPE_CHECKING:
    from collections.abc import Callable

    Visit = Callable[..., Any]

TABLE = "CREATE TABLE {{tables.t}} (id integer PRIMARY KEY)"
ASYNC = {"Prefer": "respond-async"}


def test_a_migration_is_started_by_click_and_seen_to_its_end(visit: Visit, service: Any, repo: Any) -> None:
    repo.write("m", _001_a=TABLE, _002_b="SELECT pg_sleep(1.5)", _003_c="SELECT pg_sleep(1)")
    service.sync()
    page = visit("/ui")
    page.get_by_role("link", name="m", exact=True).click()
    page.get_by_role("button", name="Migrate…").click()
    page.get_by_text("3 migrations will be applied").wait_for()
    page.get_by_role("button", name="Migrate", exact=True).click()
    page.wait_for_url("**/ui/runs/*")
    page.get_by_text("002_b.sql, statement 1 of 1").wait_for()
    page.get_by_text("003_c.sql, statement 1 of 1").wait_for()
    page.get_by_text("3 migrations applied.").wait_for()
    assert page.locator(".steps > ol > li").count() == 3


def test_a_blocked_migration_is_cancelled(visit: Visit, service: Any, repo: Any, database: str) -> None:
    with blocked_run(service, repo, database) as (location, _):
        page = visit(f"/ui{location}")
        page.get_by_text("002_b.sql, statement 1 of 1, waits for a lock on m.t. reporting").wait_for()
        page.get_by_role("link", name="Cancel run…").click()
        # What is cancelled is named.
        page.get_by_text("002_b.sql, statement 1 of 1, waits for a lock on m.t. reporting").wait_for()
        page.get_by_role("button", name="Cancel the run").click()
        page.get_by_text("The run was cancelled.").wait_for()
    assert service.get("/modules/m").json()["pending"] == 1


def test_a_failed_run_shows_its_line(visit: Visit, service: Any, repo: Any) -> None:
    repo.write("m", _002_bad="SELECT 1;\nSELECT nothing_there;")
    service.sync()
    service.post("/modules/m/migrate")
    page = visit("/ui")
    page.get_by_text("002_bad.sql:2:8").click()
    assert page.locator(".line.marked .number").first.inner_text() == "2"
    assert page.locator(".caret").count() == 1


def test_updates_pause_while_text_is_selected_and_nothing_is_missed(visit: Visit, service: Any, repo: Any) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    page = visit("/ui")
    page.get_by_text("live", exact=True).wait_for()
    page.evaluate("getSelection().selectAllChildren(document.querySelector('h1'))")
    page.get_by_text("paused while text is selected").wait_for()
    page.evaluate("document.addEventListener('htmx:sse:before:message', (event) => { window.came = event.type; })")
    service.post("/modules/m/migrate")
    eventually(lambda: page.evaluate("window.came"))
    assert page.locator("#module-m").get_by_text("pending").count() == 1
    page.evaluate("getSelection().removeAllRanges()")
    page.locator("#module-m").get_by_text("up to date").wait_for()
    page.get_by_text("live", exact=True).wait_for()


def test_updates_pause_and_resume_by_key(visit: Visit, service: Any, repo: Any) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    page = visit("/ui")
    page.get_by_text("live", exact=True).wait_for()
    page.keyboard.press("p")
    page.get_by_text("paused", exact=True).wait_for()
    page.get_by_role("button", name="Resume").click()
    page.get_by_text("live", exact=True).wait_for()
    service.post("/modules/m/migrate")
    page.locator("#module-m").get_by_text("up to date").wait_for()


def test_a_conflict_keeps_the_page_and_says_what_to_do(visit: Visit, service: Any, repo: Any) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    page = visit("/ui/modules/m/migrate", may_fail=True)
    page.get_by_text("1 migration will be applied to schema m.").wait_for()
    repo.write("m", _002_b="SELECT 2")
    service.sync()
    page.get_by_role("button", name="Migrate", exact=True).click()
    page.get_by_role("alert").get_by_text("The plan has changed").wait_for()
    assert page.url.endswith("/ui/modules/m/migrate")
    assert page.get_by_text("1 migration will be applied to schema m.").is_visible()
    page.get_by_role("link", name="Show the plan of m").click()
    page.get_by_text("002_b.sql").first.wait_for()


def test_a_rehearsal_is_shown_before_it_is_migrated(visit: Visit, service: Any, repo: Any) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    service.post("/modules/m/migrate")
    repo.write("m", _002_b="ALTER TABLE {{tables.t}} ADD COLUMN a integer")
    service.sync()
    page = visit("/ui/modules/m")
    page.get_by_role("button", name="Rehearse").click()
    page.get_by_text("The rehearsal succeeded").wait_for()
    row = page.get_by_role("row", name="ACCESS EXCLUSIVE on m.t")
    assert "reads and writes wait" in row.inner_text()
    assert "the rehearsal held it for" in row.inner_text()
    page.get_by_role("button", name="Migrate", exact=True).click()
    page.get_by_text("1 migration applied.").wait_for()


def test_a_dry_run_says_what_would_be_applied(visit: Visit, service: Any, repo: Any) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    page = visit("/ui/modules/m")
    page.get_by_role("button", name="Dry run").click()
    page.get_by_text("A migrate would apply 1 migration. Nothing was executed.").wait_for()
    assert service.get("/modules/m").json()["applied"] == 0


def test_a_step_opens_to_its_statements_and_stays_open(visit: Visit, service: Any, repo: Any) -> None:
    repo.write("m", _001_a="SELECT pg_sleep(1);\nSELECT pg_sleep(2);\nSELECT pg_sleep(2)")
    service.sync()
    location = service.post("/modules/m/migrate", headers=ASYNC).headers["location"]
    page = visit(f"/ui{location}")
    page.locator("summary", has_text="001_a.sql").click()
    page.get_by_text("2 of 3: SELECT pg_sleep(2)").wait_for()
    page.get_by_text("1 migration applied.").wait_for()
    page.locator("summary", has_text="001_a.sql").click()
    assert page.locator(".steps details .waterfall .fill-ok").count() >= 3


def test_the_sort_order_is_kept_in_the_address(visit: Visit, service: Any, repo: Any) -> None:
    repo.write("a_good", _001_a=TABLE)
    repo.write("b_bad", _001_a="SELECT nothing_there")
    service.sync()
    service.post("/modules/a_good/migrate")
    service.post("/modules/b_bad/migrate")
    page = visit("/ui")
    names = "[...document.querySelectorAll('#modules tbody tr')].map((row) => row.dataset.name)"
    assert page.evaluate(names) == ["a_good", "b_bad"]
    page.get_by_role("columnheader", name="State").get_by_role("link").click()
    page.wait_for_url("**/ui?sort=state")
    assert page.evaluate(names) == ["b_bad", "a_good"]
    page.go_back()
    page.wait_for_url("**/ui")
    assert page.evaluate(names) == ["a_good", "b_bad"]


def test_the_list_is_filtered_while_typing_and_in_the_address(visit: Visit, service: Any, repo: Any) -> None:
    repo.write("identity", _001_a=TABLE)
    repo.write("orders", _001_a=TABLE)
    service.sync()
    page = visit("/ui")
    page.keyboard.press("/")
    page.keyboard.type("ord")
    page.locator("#module-identity").wait_for(state="hidden")
    assert page.locator("#module-orders").is_visible()
    assert page.url.endswith("?q=ord")
    page.reload()
    page.locator("#module-orders").wait_for()
    page.locator("#module-identity").wait_for(state="hidden")


def test_a_migration_by_keyboard_alone(visit: Visit, service: Any, repo: Any) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    page = visit("/ui/runs")
    page.keyboard.press("g")
    page.keyboard.press("m")
    page.wait_for_url("**/ui")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "m":
            break
    page.keyboard.press("Enter")
    page.wait_for_url("**/ui/modules/m")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Migrate…":
            break
    page.keyboard.press("Enter")
    page.wait_for_url("**/ui/modules/m/migrate?")
    # The browser gives the focus to the button that migrates when it has painted the page.
    page.wait_for_function("document.activeElement.tagName == 'BUTTON'")
    page.keyboard.press("Enter")
    page.get_by_text("1 migration applied.").wait_for()
