"""The grid of schemas in a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.waiting import eventually

from .test_appearance import violations

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Visit = Callable[..., Any]

TABLE = "CREATE TABLE {{tables.t}} (id integer PRIMARY KEY)"
COUNT = 10_000
PAINTED = "Number(document.querySelector('canvas.grid').dataset.painted)"
# Scrolls the page and changes a hundred cells in each of fifty frames, or for ten seconds. Answers with the number of
# cells that were painted in each frame, and with the frames of a second.
FRAMES = """() => new Promise((done) => {
    const canvas = document.querySelector("canvas.grid");
    const { clearRect } = CanvasRenderingContext2D.prototype;
    let painted = 0;
    CanvasRenderingContext2D.prototype.clearRect = function (...box) {
        painted += 1;
        return clearRect.apply(this, box);
    };
    const counts = [];
    let cells = canvas.pgdbm.cells();
    const begin = performance.now();
    const finish = () => done({ counts, rate: counts.length * 1000 / (performance.now() - begin) });
    setTimeout(finish, 10000);
    const frame = () => {
        if (counts.length) counts[counts.length - 1] = painted;
        if (counts.length === 50) { finish(); return; }
        painted = 0;
        scrollBy(0, counts.length % 2 ? 40 : -38);
        const state = cells.state.slice();
        for (let index = 0; index < 100; index += 1) {
            const changed = (counts.length * 100 + index) % state.length;
            state[changed] = 1 - state[changed];
        }
        cells = { ...cells, state };
        // It is painted in the frame that it asks for, which comes before the next of these.
        canvas.pgdbm.take(cells);
        counts.push(0);
        requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
})"""

# Scrolls a page of text in the same way. Answers with the frames of a second.
PLAIN_FRAMES = """() => new Promise((done) => {
    document.body.style.height = "20000px";
    let count = 0;
    const begin = performance.now();
    const frame = () => {
        if (count === 50) { done(count * 1000 / (performance.now() - begin)); return; }
        scrollBy(0, count % 2 ? 40 : -38);
        count += 1;
        requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
})"""


@pytest.fixture
def tenants(service: Any, repo: Any, sql: Callable[..., list[Any]]) -> None:
    """Twelve schemas, of which one failed and the others were migrated, the first two as canaries."""
    for number in range(12):
        sql(f"CREATE SCHEMA tenant_{number:02}")
    sql("CREATE TABLE tenant_07.t (id integer)")
    repo.write("tenants", 'schemas = "tenant_*"\n', _001_t=TABLE)
    service.sync()
    service.post("/modules/tenants/migrate", json={"canary": 2, "on_failure": "continue"})


def test_of_ten_thousand_cells_those_that_changed_are_drawn_again(visit: Visit, tenants: None) -> None:
    """At 50 frames a second, or on a busy machine compared with text that is scrolled in the same browser."""
    page = visit("/ui/modules/tenants/schemas")
    eventually(lambda: page.evaluate(PAINTED) == 12)
    cells = {
        "names": [f"tenant_{number:05}" for number in range(COUNT)],
        "states": ["up_to_date", "failed"],
        "tones": ["ok", "bad"],
        "state": [int(number % 500 == 7) for number in range(COUNT)],
        "versions": ["001"],
        "version": [0] * COUNT,
        "why": {"tenant_00007": "it is full"},
        "canaries": [0],
        "active": False,
    }
    # Nothing more is read from the service, which has different cells.
    page.evaluate("() => { window.fetch = () => new Promise(() => {}); }")
    page.evaluate("(cells) => document.querySelector('canvas.grid').pgdbm.take(cells)", cells)
    eventually(lambda: page.evaluate(PAINTED) == COUNT)
    box = page.locator("canvas.grid").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 7 * 9 + 4, box["y"] + 4)
    page.get_by_text("tenant_00007: failed, version 001, it is full").wait_for()
    text = visit("/errors/not_found")
    rates, plain = [], []
    for _ in range(5):
        text.bring_to_front()
        plain.append(text.evaluate(PLAIN_FRAMES))
        page.bring_to_front()
        frames = page.evaluate(FRAMES)
        rates.append(frames["rate"])
        # The last one may not have been painted yet.
        assert len(frames["counts"]) > 1
        assert set(frames["counts"][:-1]) == {100}
    print(
        f"{max(rates):.1f} frames a second with {COUNT} cells, 100 of them changed in each; {max(plain):.1f} of text. "
        f"All: {[round(rate) for rate in rates]} and {[round(rate) for rate in plain]}"
    )
    assert max(rates) > min(50, max(plain) * 0.5)


# As after a run over all schemas: what is applied in each of them is in the summaries, which pages read.
SUMMARIES = """
    INSERT INTO pgdbm_service.schema_summaries (module, schema, digest, last_run)
    SELECT one.module, pg_catalog.format('tenant_%s', pg_catalog.lpad(number::text, 5, '0')), one.digest, one.last_run
    FROM pgdbm_service.schema_summaries AS one
    CROSS JOIN pg_catalog.generate_series(1, 9987) AS number
    WHERE one.schema = 'tenant_00000'
"""
SCHEMAS = """
    DO $$ BEGIN
        FOR number IN 1 .. 9999 LOOP
            EXECUTE pg_catalog.format('CREATE SCHEMA tenant_%s', pg_catalog.lpad(number::text, 5, '0'));
        END LOOP;
    END $$
"""
STATES = """(() => {
    const { states, state } = document.querySelector("canvas.grid").pgdbm.cells();
    return Object.fromEntries(states.map((name, index) => [name, state.filter((one) => one === index).length]));
})()"""


# Where the last element that a selector finds ends, and where the first one begins, in pixels below the window's top.
BOTTOM = (
    "(found) => Math.max(...[...document.querySelectorAll(found)].map((one) => one.getBoundingClientRect().bottom))"
)
TOP = "(found) => document.querySelector(found).getBoundingClientRect().top"


class TestTenThousandSchemas:
    @pytest.fixture
    def service(self, start: Callable[..., Any]) -> Any:
        """With a database that is dropped as a whole, and without a check of the summaries."""
        return start(reconcile_s=86400)

    def test_twelve_that_are_behind_are_found(
        self, visit: Visit, service: Any, repo: Any, sql: Callable[..., list[Any]], pictures: Path
    ) -> None:
        sql("CREATE SCHEMA tenant_00000")
        repo.write("tenants", 'schemas = "tenant_*"\n', _001_t=TABLE)
        service.sync()
        assert service.post("/modules/tenants/migrate").status_code == 200
        sql(SCHEMAS)
        sql(SUMMARIES)
        assert service.get("/modules/tenants").json()["states"] == {"pending": 12, "up_to_date": 9988}
        page = visit("/ui")
        assert "12 behind" in page.locator("#module-tenants").inner_text()
        page.locator("#module-tenants").get_by_role("link", name="10,000").click()
        page.get_by_text("12 pending, 9,988 up to date.").wait_for()
        eventually(lambda: page.evaluate(PAINTED) == COUNT)
        assert page.evaluate(STATES) == {"pending": 12, "up_to_date": 9988}
        behind = [f"tenant_{number:05}" for number in range(9988, COUNT)]
        assert [row.split()[0] for row in page.get_by_role("row").all_inner_texts()[1:13]] == behind
        for scheme in ("light", "dark"):
            for size, width in (("", 1280), ("-phone", 390)):
                shown = visit(
                    "/ui/modules/tenants/schemas",
                    color_scheme=scheme,
                    bypass_csp=True,
                    viewport={"width": width, "height": 800},
                )
                eventually(lambda shown=shown: shown.evaluate(PAINTED) == COUNT)
                shown.screenshot(path=pictures / f"tenants-of-10000-{scheme}{size}.png")
                # Visible on the first screen, without scrolling.
                names = shown.get_by_role("list", name="pending").get_by_role("link")
                assert names.all_inner_texts() == behind
                assert shown.evaluate(BOTTOM, ".odd li") < 800
                assert shown.evaluate(TOP, "canvas.grid") < 700
                assert shown.evaluate("document.documentElement.scrollWidth") <= width
                assert violations(shown) == []
        # By keyboard: from the state to the first schema, and to its page.
        page.get_by_role("link", name="12 pending").focus()
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == behind[0]
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/ui/modules/tenants?schema={behind[0]}")


def test_a_cell_says_which_schema_it_is_and_opens_it(visit: Visit, tenants: None) -> None:
    page = visit("/ui/modules/tenants/schemas")
    eventually(lambda: page.evaluate(PAINTED) == 12)
    box = page.locator("canvas.grid").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 9, box["y"] + 9)
    page.get_by_text("tenant_00: up to date, version 001, canary").wait_for()
    page.mouse.move(box["x"] + 7 * 18 + 9, box["y"] + 9)
    page.locator(
        ".tip", has_text='tenant_07: failed, 001_t.sql:1:1: statement 1: relation "t" already exists'
    ).wait_for()
    page.mouse.click(box["x"] + 7 * 18 + 9, box["y"] + 9)
    page.wait_for_url("**/ui/modules/tenants?schema=tenant_07")


def test_failed_schemas_are_listed_first_and_can_be_retried(
    visit: Visit, service: Any, tenants: None, sql: Callable[..., list[Any]]
) -> None:
    page = visit("/ui/modules/tenants/schemas")
    first = page.get_by_role("row").nth(1)
    assert "tenant_07" in first.inner_text()
    assert "already exists" in first.inner_text()
    sql("DROP TABLE tenant_07.t")
    page.get_by_role("button", name="Retry 1 schema").click()
    page.get_by_text("1 migration applied").wait_for()


def test_the_schemas_above_the_grid_follow_what_happens(
    visit: Visit, service: Any, tenants: None, sql: Callable[..., list[Any]]
) -> None:
    page = visit("/ui/modules/tenants/schemas?state=failed")
    odd = page.get_by_role("region", name="Not up to date")
    assert odd.get_by_role("listitem").all_inner_texts() == ["tenant_07"]
    assert "already exists" in (odd.get_by_role("link", name="tenant_07").get_attribute("title") or "")
    page.evaluate("window.isSamePage = true")
    sql("DROP TABLE tenant_07.t")
    assert service.post("/modules/tenants/migrate").status_code == 200
    page.get_by_text("12 up to date.").wait_for()
    assert odd.count() == 0
    assert page.evaluate("window.isSamePage")


def test_the_list_is_filtered_by_state_version_and_name(visit: Visit, tenants: None) -> None:
    page = visit("/ui/modules/tenants/schemas?state=failed")
    assert page.get_by_role("row").count() == 2
    page.goto("/ui/modules/tenants/schemas?version=001&q=_1")
    assert [row.split()[0] for row in page.get_by_role("row").all_inner_texts()[1:]] == ["tenant_10", "tenant_11"]


def test_the_grid_follows_a_run(visit: Visit, service: Any, repo: Any, sql: Callable[..., list[Any]]) -> None:
    for number in range(6):
        sql(f"CREATE SCHEMA tenant_{number:02}")
    repo.write("tenants", 'schemas = "tenant_*"\n', _001_t="SELECT pg_sleep(1.5)")
    service.sync()
    location = service.post("/modules/tenants/migrate", headers={"Prefer": "respond-async"}).headers["location"]
    page = visit(f"/ui{location}")
    page.get_by_text("6 migrations applied in 6 schemas.").wait_for()
    eventually(lambda: page.evaluate(PAINTED) == 6)
    assert page.evaluate("document.querySelector('canvas.grid').pgdbm.cells().states") == ["succeeded"]
