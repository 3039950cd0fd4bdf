"""Addresses: those without a page, those of forms, those in commands to copy, those with a filter that matches
nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from ..conftest import bearer
from .people import OPENS, place_of, text_of
from .test_pages import TABLE

if TYPE_CHECKING:
    from collections.abc import Callable

COMMAND = re.compile(r"<pre>(.*?)</pre>")


def opened(service: Any, path: str, **headers: str) -> Any:
    return service.get(path, headers=OPENS | headers, follow_redirects=False)


@pytest.mark.parametrize("path", ["/ui/runs/x", "/ui/webhooks/x", "/ui/modules/m/nothing", "/ui/nothing"])
def test_an_address_without_a_page_is_answered_with_a_page(service: Any, path: str) -> None:
    answer = opened(service, path)
    assert answer.status_code == 404
    assert f"There is no page {path}." in text_of(answer)
    assert "content-security-policy" in answer.headers
    assert 'href="/ui/runs"' in answer.text
    # For programs it is a problem document.
    assert service.get("/ui/runs/x").json()["code"] == "not_found"
    assert opened(service, "/runs/x/y/z").json()["code"] == "not_found"


def test_a_method_that_a_page_does_not_have_is_answered_with_a_page(service: Any) -> None:
    answer = service.post("/ui/runs", headers=OPENS, data={})
    assert answer.status_code == 405
    assert answer.headers["content-type"].startswith("text/html")
    assert "This address supports GET, HEAD, OPTIONS." in text_of(answer)
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize(
    ("path", "page"),
    [
        ("/ui/modules", "/ui"),
        ("/ui/modules/m/dry-run", "/ui/modules/m?tab=plan"),
        ("/ui/modules/m/rehearse", "/ui/modules/m?tab=plan"),
        ("/ui/sign-out", "/ui/account"),
    ],
)
def test_the_address_of_a_form_leads_to_the_page_that_has_it(service: Any, path: str, page: str) -> None:
    """A browser asks for it if the result of the form is reloaded in another tab."""
    assert place_of(opened(service, path)) == page


@pytest.mark.settings(trusted_proxies="127.0.0.1")
def test_so_it_does_behind_a_prefix(service: Any) -> None:
    answer = opened(service, "/ui/modules/m/dry-run", **{"X-Forwarded-Prefix": "/tools"})
    assert place_of(answer) == "/tools/ui/modules/m?tab=plan"


@pytest.mark.settings(auth="tokens", trusted_proxies="127.0.0.1")
def test_commands_can_be_copied_as_they_are(service: Any, repo: Any, make_token: Callable[..., str]) -> None:
    """With the scheme, the host and the path that the browser uses, and with the token that the API requires."""
    forwarded = {
        "X-Forwarded-Prefix": "/tools",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "db.acme.example",
    }
    headers = bearer(make_token("admin")) | forwarded
    repo.write("m", _001_a=TABLE)
    for path in ("/ui", "/ui/runs", "/ui/modules/m?tab=history", "/ui/modules/m?tab=bundles", "/ui/webhooks"):
        if "/modules/" in path:
            service.sync()
        commands = COMMAND.findall(opened(service, path, **headers).text)
        assert len(commands) == 1, path
        assert commands[0].startswith("curl -H &#34;Authorization: Bearer $PGDBM_TOKEN&#34; "), path
        assert "https://db.acme.example/tools/" in commands[0], path
    assert f'data-copy="{commands[0]}"' in opened(service, "/ui/webhooks", **headers).text


def test_a_filter_that_matches_nothing_stays_chosen_and_is_said(service: Any, repo: Any) -> None:
    """Without scripts, too: a list without rows is no answer."""
    repo.write("m", _001_a=TABLE)
    service.sync()
    for path in ("/ui?state=failed", "/ui/modules/m/schemas?state=failed"):
        page = service.get(path).text
        assert '<option value="failed" selected>' in page, path
        assert re.search(r"No (?:module|schema) matches\.", page)
    assert re.search(r'<p id="none-match" class="empty">', service.get("/ui?state=failed").text)
    assert re.search(r'<p id="none-match" class="empty" hidden>', service.get("/ui?q=M").text)
    filtered = service.get("/ui/runs?status=failed").text
    assert '<option value="failed" selected>' in filtered
    assert 'No run matches. <a href="/ui/runs">' in filtered
