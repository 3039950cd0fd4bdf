"""The dashboard in a browser, behind a reverse proxy that ends TLS and publishes it below a path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.tls_proxy import tls_proxy
from tests.support.waiting import eventually

from ...running_service import bearer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Visit = Callable[..., Any]

TABLE = "CREATE TABLE {{tables.t}} (id integer PRIMARY KEY)"
PREFIX = "/tools/pgdbm"
LOADED = "performance.getEntriesByType('resource').map((one) => one.name)"
# A rule of the style sheet, and what the script sets.
STYLED = "getComputedStyle(document.querySelector('.skip')).position === 'absolute'"
SCRIPTED = "document.documentElement.dataset.script === ''"


@pytest.fixture
def service(start: Callable[..., Any], make_token: Callable[..., str]) -> Any:
    service = start(auth="tokens", trusted_proxies="127.0.0.1")
    service.headers = bearer(make_token("admin"))
    return service


@pytest.fixture
def origin(service: Any, tmp_path: Path) -> Iterator[str]:
    """The origin of the proxy."""
    with tls_proxy(service.url, PREFIX, tmp_path) as origin:
        yield origin


def test_pages_assets_and_updates_work_and_the_cookie_is_secure(
    origin: str, visit: Visit, service: Any, repo: Any, make_token: Callable[..., str]
) -> None:
    repo.write("m", _001_a=TABLE, _002_b="SELECT pg_sleep(1)")
    service.sync()
    page = visit(f"{PREFIX}/ui", url=origin, ignore_https_errors=True)
    assert page.url.startswith(f"{origin}{PREFIX}/ui/sign-in")
    page.get_by_label("Token").fill(make_token("admin"))
    page.keyboard.press("Enter")
    page.wait_for_url(f"{origin}{PREFIX}/ui")
    (cookie,) = [one for one in page.context.cookies() if "session" in one["name"]]
    assert cookie["name"] == "__Host-pgdbm_session"
    assert (cookie["secure"], cookie["httpOnly"], cookie["path"]) == (True, True, "/")
    page.get_by_text("live", exact=True).wait_for()
    assert page.evaluate(STYLED)
    assert page.evaluate(SCRIPTED)

    # A run is started by click, and each page that is live shows it.
    overview = page.context.new_page()
    overview.goto(f"{PREFIX}/ui")
    overview.get_by_text("live", exact=True).wait_for()
    page.get_by_role("link", name="m", exact=True).click()
    page.wait_for_url(f"{origin}{PREFIX}/ui/modules/m")
    module = page.context.new_page()
    module.goto(f"{PREFIX}/ui/modules/m")
    module.get_by_text("live", exact=True).wait_for()
    page.get_by_role("button", name="Migrate…").click()
    page.get_by_role("button", name="Migrate", exact=True).click()
    page.wait_for_url(f"{origin}{PREFIX}/ui/runs/*")
    page.get_by_text("2 migrations applied.").wait_for()
    overview.locator("#module-m").get_by_text("up to date").wait_for()
    module.locator("#module-head").get_by_text("up to date").wait_for()
    # What was updated has the prefix, too.
    overview.locator("#module-m a").first.click()
    overview.wait_for_url(f"{origin}{PREFIX}/ui/modules/m")
    for one in (page, overview, module):
        loaded = one.evaluate(LOADED)
        assert len([name for name in loaded if "/ui/assets/" in name]) >= 3
        assert [name for name in loaded if not name.startswith(f"{origin}{PREFIX}/ui/")] == []

    page.goto(f"{PREFIX}/ui/account")
    page.get_by_role("button", name="Sign out", exact=True).click()
    page.wait_for_url(f"{origin}{PREFIX}/ui/sign-in**")
    eventually(lambda: [one for one in page.context.cookies() if "session" in one["name"]] == [])
