"""Signing in, tokens and scopes in a real browser."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import pytest

from ...running_service import OWN_ORIGIN, bearer
from ..identity_provider import CLIENT, SECRET, running
from .test_appearance import AXE, TABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ..identity_provider import IdentityProvider

    Open = Callable[..., Any]

SIZES = {"": {"width": 1280, "height": 800}, "-phone": {"width": 390, "height": 800}}


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    with running() as provider:
        provider.asks = True
        yield provider


@pytest.fixture
def service(start: Callable[..., Any], provider: IdentityProvider, tmp_path: Path) -> Any:
    """With an identity provider, which sends browsers back to where the service listens."""
    (tmp_path / "secret").write_text(SECRET)
    return start(
        auth="jwt",
        jwt_issuer=provider.url,
        jwt_audience="pgdbm",
        oidc_client_id=CLIENT,
        oidc_client_secret_file=tmp_path / "secret",
        oidc_name="Acme",
        public_origin=OWN_ORIGIN,
        auth_failures_per_minute=10000,
    )


@pytest.fixture
def open_page(browser: Any, service: Any, provider: IdentityProvider) -> Iterator[Open]:
    """Opens a page in a browser of its own. Fails at the end if one logged an error or used a third host."""
    errors: list[str] = []
    hosts = {urlsplit(one.url).netloc for one in (service, provider)}
    with contextlib.ExitStack() as contexts:

        def open_page(path: str, **options: Any) -> Any:
            settings = {"viewport": SIZES[""], "base_url": service.url} | options
            page = contexts.enter_context(browser.context(**settings)).new_page()
            page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on(
                "request",
                lambda request: errors.append(request.url) if urlsplit(request.url).netloc not in hosts else None,
            )
            page.goto(path)
            return page

        yield open_page
    # A refusal is an answer with the status 401 or 403, which the browser logs.
    assert [one for one in errors if "status of 40" not in one] == []


def sign_in(page: Any, token: str) -> None:
    page.get_by_label("Token", exact=True).fill(token)
    page.get_by_role("button", name="Sign in with the token").click()


def test_signing_in_with_a_token_leads_to_the_page_that_was_wanted(open_page: Open, make_token: Any) -> None:
    page = open_page("/ui/runs?status=failed")
    page.get_by_role("heading", name="Sign in").wait_for()
    sign_in(page, "pgdbm_000000000000_" + "A" * 43)
    page.get_by_text("The token is unknown, has expired or was revoked.").wait_for()
    sign_in(page, make_token("read", name="ada"))
    page.wait_for_url("**/ui/runs?status=failed")
    page.get_by_role("link", name="token:ada").click()
    page.get_by_role("button", name="Sign out", exact=True).click()
    page.get_by_role("heading", name="Sign in").wait_for()
    # The Back button does not show pages that require a sign-in.
    page.go_back()
    page.get_by_role("heading", name="Sign in").wait_for()


def test_signing_out_ends_the_session_of_the_identity_provider(
    open_page: Open, provider: IdentityProvider, service: Any
) -> None:
    provider.discovery = {"end_session_endpoint": f"{provider.url}/end"}
    page = open_page("/ui/account")
    page.get_by_role("link", name="Sign in with Acme").click()
    page.get_by_role("link", name="Sign in as ada").click()
    page.wait_for_url(f"{service.url}/ui/account")
    page.get_by_role("button", name="Sign out", exact=True).click()
    page.get_by_role("heading", name="Sign in").wait_for()
    assert [one["client_id"] for one in provider.ended] == [CLIENT]
    assert page.context.cookies() == []


def test_signing_out_everywhere_ends_the_session_of_this_browser_at_the_identity_provider(
    open_page: Open, provider: IdentityProvider
) -> None:
    provider.discovery = {"end_session_endpoint": f"{provider.url}/end"}
    here, there = open_page("/ui/account"), open_page("/ui")
    for page in (here, there):
        page.get_by_role("link", name="Sign in with Acme").click()
        page.get_by_role("link", name="Sign in as ada").click()
    there.get_by_text("live", exact=True).wait_for()
    here.reload()
    assert here.get_by_role("row").count() >= 3
    here.get_by_role("link", name="Sign out everywhere…").click()
    here.get_by_text("Your other browsers stay signed in there").wait_for()
    here.get_by_role("button", name="Sign out everywhere").click()
    here.get_by_role("heading", name="Sign in").wait_for()
    assert [one["client_id"] for one in provider.ended] == [CLIENT]
    assert here.context.cookies() == []
    there.get_by_role("heading", name="Sign in").wait_for()


def test_signing_in_at_an_identity_provider(open_page: Open, provider: IdentityProvider, service: Any) -> None:
    page = open_page("/ui/database")
    page.get_by_role("link", name="Sign in with Acme").click()
    page.get_by_role("heading", name="Acme").wait_for()
    page.get_by_role("link", name="Sign in as ada").click()
    page.wait_for_url(f"{service.url}/ui/database")
    page.get_by_role("link", name="jwt:ada").wait_for()
    (cookie,) = page.context.cookies()
    assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"]) == ("pgdbm_session", True, "Lax")
    assert page.evaluate("document.cookie") == ""
    # A link in a page of another site finds the session.
    page.goto(f"{provider.url}/evil?to={quote(service.url)}/ui")
    page.evaluate(f"location.href = '{service.url}/ui'")
    page.get_by_role("link", name="jwt:ada").wait_for()


def test_a_form_of_another_site_changes_nothing(
    open_page: Open, provider: IdentityProvider, service: Any, repo: Any, make_token: Any
) -> None:
    repo.write("m", _001_a=TABLE)
    assert service.post("/repo/sync", headers=bearer(make_token("admin"))).status_code == 200
    page = open_page("/ui")
    sign_in(page, make_token("admin", name="ada"))
    page.get_by_role("link", name="token:ada").wait_for()
    page.goto(f"{provider.url}/evil?to={quote(service.url)}/ui/modules/m/migrate")
    page.get_by_role("button", name="Win a prize").click()
    # The browser does not send the cookie with it; if it did, the origin would be refused.
    page.wait_for_url("**/ui/modules/m/migrate")
    assert page.get_by_role("heading").first.inner_text() in (
        "Authentication is required",
        "Pages of other sites cannot change anything",
    )
    assert service.get("/modules/m", headers=bearer(make_token("read"))).json()["applied"] == 0
    page.goto("/ui")
    page.get_by_role("link", name="token:ada").wait_for()


def test_the_page_offers_only_what_the_scopes_allow(open_page: Open, service: Any, repo: Any, make_token: Any) -> None:
    for name in ("orders", "users"):
        repo.write(name, _001_a=TABLE)
    assert service.post("/repo/sync", headers=bearer(make_token("admin"))).status_code == 200
    page = open_page("/ui/modules/users")
    sign_in(page, make_token("read", "migrate:orders", name="ada"))
    page.get_by_role("heading", name="users").wait_for()
    assert page.get_by_role("button", name="Migrate…").count() == 0
    assert page.get_by_role("link", name="Tokens").count() == 0
    page.goto("/ui/modules/orders")
    page.get_by_role("button", name="Migrate…").click()
    page.get_by_role("button", name="Migrate", exact=True).click()
    page.get_by_text("1 migration applied.").wait_for()


def test_an_open_page_follows_to_the_sign_in_when_the_session_ends(open_page: Open, make_token: Any) -> None:
    page = open_page("/ui")
    sign_in(page, make_token("read", name="ada"))
    page.get_by_text("live", exact=True).wait_for()
    other = page.context.new_page()
    other.goto("/ui/account")
    other.get_by_role("link", name="Sign out everywhere…").click()
    other.get_by_role("button", name="Sign out everywhere").click()
    page.get_by_role("heading", name="Sign in").wait_for()


def test_a_token_is_made_copied_and_revoked(open_page: Open, service: Any, make_token: Any) -> None:
    page = open_page("/ui/tokens", permissions=["clipboard-read", "clipboard-write"])
    sign_in(page, make_token("admin", name="ada"))
    page.get_by_role("link", name="New token…").click()
    page.get_by_label("Name", exact=True).fill("deploy orders")
    page.get_by_label("migrate", exact=True).fill("orders")
    page.get_by_role("button", name="Create the token").click()
    page.get_by_text("is not a valid name").wait_for()
    page.get_by_label("Name", exact=True).fill("deploy-orders")
    page.get_by_role("button", name="Create the token").click()
    page.get_by_role("button", name="Copy", exact=True).click()
    page.get_by_role("button", name="Copied").wait_for()
    token = page.evaluate("navigator.clipboard.readText()")
    assert service.get("/modules", headers=bearer(token)).status_code == 200
    page.get_by_role("link", name="All tokens").click()
    page.get_by_role("link", name="Revoke deploy-orders…").click()
    page.get_by_role("button", name="Revoke the token").click()
    page.get_by_role("row", name="deploy-orders").get_by_text("revoked").first.wait_for()
    assert service.get("/modules", headers=bearer(token)).status_code == 401


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_are_accessible_fit_a_phone_and_have_their_pictures(
    open_page: Open, service: Any, provider: IdentityProvider, make_token: Any, pictures: Path, scheme: str
) -> None:
    provider.discovery = {"end_session_endpoint": f"{provider.url}/end"}
    admin = make_token("admin", name="ada")
    for name, scopes in {"deploy-orders": ("read", "migrate:orders", "register:orders"), "grafana": ("read",)}.items():
        make_token(*scopes, name=name, expires="30d")
    old = service.post("/tokens", headers=bearer(admin), json={"name": "laptop-of-eve", "scopes": ["read"]}).json()
    service.client.delete(f"/tokens/{old['id']}", headers=bearer(admin))
    for size, viewport in SIZES.items():
        page = open_page("/ui/sign-in", color_scheme=scheme, bypass_csp=True, viewport=viewport)

        def see(name: str, page: Any = page, suffix: str = f"-{scheme}{size}") -> None:
            page.wait_for_timeout(100)
            page.screenshot(path=pictures / f"{name}{suffix}.png")
            assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"], name
            page.evaluate(AXE)
            found = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
            serious = [(one["id"], [node["target"] for node in one["nodes"]][:3]) for one in found]
            assert serious == [], name

        see("sign-in")
        sign_in(page, "pgdbm_wrong")
        see("sign-in-refused")
        sign_in(page, admin)
        page.get_by_role("link", name="token:ada").wait_for()
        page.goto("/ui/tokens")
        see("tokens")
        page.get_by_role("link", name="Revoke deploy-orders…").click()
        page.get_by_role("button", name="Revoke the token").wait_for()
        see("token-revoke")
        page.goto("/ui/tokens/new")
        see("token-new")
        page.get_by_role("button", name="Create the token").click()
        page.get_by_label("Name", exact=True).fill("grafana")
        page.get_by_role("button", name="Create the token").click()
        page.get_by_text("is not revoked").wait_for()
        see("token-refused")
        page.get_by_label("Name", exact=True).fill(f"ci-{scheme}{size}")
        page.get_by_role("button", name="Create the token").click()
        page.get_by_text("it is not shown again").wait_for()
        # The token must not be in the picture.
        page.evaluate("document.getElementById('secret').value = 'pgdbm_3f9c2a71d0b8_' + 'x'.repeat(43)")
        see("token-created")
        page.goto("/ui/account")
        see("account")
        page.context.clear_cookies()
        page.goto("/ui/account")
        page.get_by_role("link", name="Sign in with Acme").click()
        page.get_by_role("link", name="Sign in as ada").click()
        page.get_by_role("link", name="Sign out everywhere…").click()
        page.get_by_text("Your other browsers stay signed in there").wait_for()
        see("sign-out-everywhere")
        # The page leads to the provider immediately: here it does not answer with a page.
        page.route("**/end?**", lambda route: route.fulfill(status=204))
        page.get_by_role("button", name="Sign out everywhere").click()
        page.get_by_role("heading", name="Signed out").wait_for()
        see("signed-out")
