"""Pages while a person uses them: double clicks, focus, selections, opened details, keys, the theme."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.waiting import eventually

from ...blocked_runs import blocked_run, holding

if TYPE_CHECKING:
    from collections.abc import Callable

    Visit = Callable[..., Any]

TABLE = "CREATE TABLE {{tables.t}} (id integer PRIMARY KEY)"
INDEX = "CREATE INDEX ON {{tables.t}} (id)"
ASYNC = {"Prefer": "respond-async"}
FOCUSED = "document.activeElement.textContent.trim()"
GROUND = "getComputedStyle(document.body).backgroundColor"
# The elements that make a page wider than a number of pixels.
WIDER = """(most) => {
    if (document.documentElement.scrollWidth <= most) return [];
    const found = [...document.querySelectorAll("body *")].filter((one) => one.getBoundingClientRect().right > most);
    return ["it is wider", ...found.map((one) => one.outerHTML.slice(0, 100))];
}"""
# The sum of the layout shifts since the page was opened that no input caused.
SHIFTS = """() => new Promise((done) => {
    let sum = 0;
    new PerformanceObserver((list) => {
        for (const one of list.getEntries()) if (!one.hadRecentInput) sum += one.value;
    }).observe({ type: "layout-shift", buffered: true });
    setTimeout(() => done(sum), 300);
})"""


def test_a_form_is_sent_once_however_often_its_button_is_clicked(visit: Visit, service: Any) -> None:
    page = visit("/ui/tokens/new")
    page.get_by_label("Name").fill("deploy")
    page.get_by_role("button", name="Create the token").dblclick()
    # The token is in the first answer only: for a second one, its name would be taken.
    page.get_by_text("Copy it now: it is not shown again.").wait_for()
    assert len(service.get("/tokens").json()["items"]) == 1
    # However slow the answer is: here nothing is sent, and what would be is counted.
    page.goto("/ui/tokens/new")
    page.get_by_label("Name").fill("other")
    page.evaluate("""() => {
        window.sent = 0;
        addEventListener("submit", (event) => {
            if (!event.defaultPrevented) window.sent += 1;
            event.preventDefault();
        });
        for (let click = 0; click < 3; click += 1) document.querySelector("form.fields").requestSubmit();
    }""")
    assert page.evaluate("window.sent") == 1


def test_a_refused_form_keeps_the_focus(visit: Visit, service: Any, repo: Any) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    page = visit("/ui/modules/m/migrate", may_fail=True)
    repo.write("m", _002_b="SELECT 2")
    service.sync()
    page.get_by_role("button", name="Migrate", exact=True).focus()
    page.keyboard.press("Enter")
    page.get_by_role("alert").get_by_text("The plan has changed").wait_for()
    eventually(lambda: page.evaluate(FOCUSED) == "Migrate")


def test_a_run_that_ends_waits_for_the_reader(visit: Visit, service: Any, repo: Any, database: str) -> None:
    with blocked_run(service, repo, database) as (location, _):
        page = visit(f"/ui{location}")
        page.get_by_text("reporting (pid").wait_for()
        page.evaluate("window.isSamePage = true")
        page.evaluate("document.addEventListener('run:ended', () => { window.hasEnded = true; })")
        page.evaluate("getSelection().selectAllChildren(document.querySelector('.tree .query'))")
    eventually(lambda: page.evaluate("window.hasEnded"))
    assert page.evaluate("window.isSamePage")
    assert "LOCK TABLE" in page.evaluate("String(getSelection())")
    page.evaluate("getSelection().removeAllRanges()")
    page.get_by_text("1 migration applied.").wait_for()


def test_details_stay_as_they_were_left(
    visit: Visit, service: Any, repo: Any, database: str, sql: Callable[..., list[Any]]
) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    service.post("/modules/m/migrate")
    sql("INSERT INTO m.t VALUES (1)")
    repo.write("m", _002_b="SELECT 2", _003_c=INDEX, _004_d="SELECT 4")
    service.sync()
    page = visit("/ui/modules/m?tab=plan")
    page.get_by_text("live", exact=True).wait_for()
    states = "[...document.querySelectorAll('#module-work details')].map((one) => [one.id, one.open])"
    before = dict(page.evaluate(states))
    assert before == {"sent-002_b.sql": False, "fix-003_c.sql": True, "sent-003_c.sql": False, "sent-004_d.sql": False}
    for name in ("sent-003_c.sql", "fix-003_c.sql"):
        page.locator(f'[id="{name}"] summary').click()
    with holding(database, "LOCK TABLE m.t IN ACCESS SHARE MODE; LOCK TABLE m.t IN ROW EXCLUSIVE MODE", "reporting"):
        service.post("/modules/m/migrate", headers=ASYNC, json={"lock_timeout_ms": 60_000})
        # The first file is applied, and its part of the page is gone.
        eventually(
            lambda: (
                dict(page.evaluate(states)) == {"fix-003_c.sql": False, "sent-003_c.sql": True, "sent-004_d.sql": False}
            )
        )
    page.get_by_text("Nothing is pending in schema m.").wait_for()


def test_what_needs_attention_is_a_list_of_links_that_keep_the_focus(visit: Visit, service: Any, repo: Any) -> None:
    repo.write("b", _001_a="SELECT nothing_there")
    service.sync()
    service.post("/modules/b/migrate")
    page = visit("/ui")
    page.get_by_text("live", exact=True).wait_for()
    link = page.get_by_role("list", name="Needs attention").get_by_role("listitem").get_by_role("link")
    link.focus()
    repo.write("a", _001_a="SELECT nothing_there")
    service.sync()
    service.post("/modules/a/migrate")
    # Another line comes before it.
    eventually(lambda: link.count() == 2)
    assert page.evaluate(FOCUSED).startswith("failed b ") or "b 001_a.sql" in page.evaluate(FOCUSED)


def test_keys_are_for_pages_and_not_for_fields(visit: Visit, service: Any) -> None:
    page = visit("/ui/runs")
    page.get_by_label("Module").fill("")
    page.get_by_label("Module").press_sequentially("g?pgr/")
    assert page.get_by_label("Module").input_value() == "g?pgr/"
    assert page.url.endswith("/ui/runs")
    page.evaluate("document.activeElement.blur()")
    # The second key comes too late.
    page.keyboard.press("g")
    page.evaluate("() => new Promise((done) => setTimeout(done, 1600))")
    page.keyboard.press("d")
    page.keyboard.press("?")
    page.get_by_role("heading", name="Keys").wait_for()
    page.keyboard.press("?")
    page.keyboard.press("g")
    page.keyboard.press("d")
    assert page.url.endswith("/ui/runs")
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("d")
    page.wait_for_url("**/ui/database")


def test_the_theme_is_switched_and_kept(visit: Visit, service: Any) -> None:
    page = visit("/ui", color_scheme="light")
    light = page.evaluate(GROUND)
    page.get_by_role("button", name="Switch between light and dark").click()
    dark = page.evaluate(GROUND)
    assert dark != light
    page.goto("/ui/runs")
    assert page.evaluate(GROUND) == dark
    # It is the theme of a browser whose system is dark.
    assert visit("/ui", color_scheme="dark").evaluate(GROUND) == dark
    page.get_by_role("button", name="Switch between light and dark").click()
    assert page.evaluate(GROUND) == light
    # Without scripts, the page has it too: it is in a cookie.
    assert page.evaluate("document.cookie") == "pgdbm_theme=light"


def test_nothing_jumps_when_a_page_is_complete(
    visit: Visit, service: Any, repo: Any, sql: Callable[..., list[Any]]
) -> None:
    for number in range(300):
        sql(f"CREATE SCHEMA tenant_{number:03}")
    repo.write("tenants", 'schemas = "tenant_*"\n', _001_t=TABLE)
    repo.write("m", _001_a="SELECT nothing_there")
    service.sync()
    service.post("/modules/m/migrate")
    for width in (1280, 390):
        page = visit("/ui", viewport={"width": width, "height": 800})
        for path in ("/ui", "/ui/modules/m", "/ui/modules/tenants/schemas", "/ui/runs", "/ui/database"):
            page.goto(path)
            assert page.evaluate(SHIFTS) < 0.02, (path, width)


def test_long_names_fit_a_phone(
    visit: Visit, service: Any, repo: Any, database: str, sql: Callable[..., list[Any]]
) -> None:
    module = "a_module_with_" + "a_very_" * 6 + "long_name"
    schemas = [f"a_tenant_with_{'a_very_' * 5}long_name_{number}" for number in range(2)]
    file = "002_" + "a_very_" * 12 + "long_name"
    for schema in schemas:
        sql(f"CREATE SCHEMA {schema}")
    table = f"a_table_with_{'a_very_' * 5}long_name"
    repo.write(module, 'schemas = "a_tenant_*"\n', _001_a=f"CREATE TABLE {{{{tables.{table}}}}} (id integer)")
    repo.write("short", _001_a=TABLE)
    service.sync()
    for name in (module, "short"):
        assert service.post(f"/modules/{name}/migrate").status_code == 200
    repo.write(
        module, 'schemas = "a_tenant_*"\n', **{f"_{file}": f"ALTER TABLE {{{{tables.{table}}}}} ADD COLUMN a nothing"}
    )
    repo.write("short", **{f"_{file}": "ALTER TABLE {{tables.t}} ADD COLUMN a integer"})
    service.sync()
    failed = service.post(f"/modules/{module}/migrate").json()["run_id"]
    holder = "an_application_" + "with_a_very_" * 3 + "long_name"
    with holding(database, "LOCK TABLE short.t IN ACCESS SHARE MODE", holder) as pid:
        blocked = service.post("/modules/short/migrate", headers=ASYNC).headers["location"]
        eventually(lambda: "holds it and is idle" in service.get(f"/ui{blocked}").text)
        page = visit("/ui", viewport={"width": 390, "height": 800})
        for path in (
            "/ui",
            f"/ui/modules/{module}?tab=plan",
            f"/ui/modules/{module}?tab=history",
            f"/ui/modules/{module}?tab=journal",
            f"/ui/modules/{module}/schemas",
            f"/ui/modules/{module}/migrate",
            f"/ui/modules/{module}/mark?filename={file}.sql&schema={schemas[0]}",
            f"/ui/runs/{failed}",
            f"/ui{blocked}",
            f"/ui{blocked}/cancel",
            f"/ui/database/sessions/{pid}/end",
            "/ui/runs",
            "/ui/database",
            f"/ui/database/schema?name={schemas[0]}",
            "/ui/audit",
        ):
            page.goto(path)
            too_wide = page.evaluate(WIDER, 390)
            assert too_wide == [], path
