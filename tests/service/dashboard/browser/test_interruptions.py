"""Open pages while the database is away, and while they are hidden."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    Visit = Callable[..., Any]

TABLE = "CREATE TABLE {{tables.t}} (id integer PRIMARY KEY)"
NOT_UP_TO_DATE = "not up to date: the service cannot read the database"


class TestWithoutADatabase:
    @pytest.fixture
    def service(self, start: Callable[..., Any], repo: Any, proxied: str) -> Any:
        repo.write("m", _001_a=TABLE)
        return start(database_url=proxied, stream_keep_alive_s=0.5)

    def test_pages_say_that_they_are_not_up_to_date_and_keep_what_they_show(
        self, visit: Visit, service: Any, proxy: Any
    ) -> None:
        """Those that follow a stream, and those that are read again and again."""
        pages = {
            "#module-m": visit("/ui", may_fail=True),
            "#replicas": visit("/ui/database", may_fail=True),
            "#summary": visit("/ui/modules/m/schemas", may_fail=True),
        }
        for page in pages.values():
            page.locator("#live", has_text="live").wait_for()
        proxy.cut()
        for kept, page in pages.items():
            page.get_by_text(NOT_UP_TO_DATE).wait_for()
            assert page.locator(kept).is_visible(), kept
            assert page.get_by_text("The database is unavailable").count() == 0
        proxy.restore()
        for page in pages.values():
            page.locator("#live", has_text="live").wait_for()
        assert service.post("/modules/m/migrate").status_code == 200
        pages["#module-m"].locator("#module-m").get_by_text("up to date").wait_for()
        pages["#summary"].locator("#summary").get_by_text("1 up to date.").wait_for()


def test_a_hidden_page_is_not_read_again(visit: Visit, service: Any) -> None:
    page = visit("/ui/database")
    page.locator("#live", has_text="live").wait_for()
    page.evaluate("""() => {
        window.isHidden = true;
        window.polls = 0;
        Object.defineProperty(document, "hidden", { get: () => window.isHidden });
        document.addEventListener("htmx:after:request", () => { window.polls += 1; });
        document.addEventListener("htmx:before:request", (event) => { window.skipped = event.defaultPrevented; });
    }""")
    eventually(lambda: page.evaluate("window.skipped"))
    assert page.evaluate("window.polls") == 0
    page.evaluate("window.isHidden = false")
    eventually(lambda: page.evaluate("window.polls") >= 1)
