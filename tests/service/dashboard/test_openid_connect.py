"""Signing in at an identity provider that the test runs."""

from __future__ import annotations

import html
import re
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import httpx2
import pytest

from pgdbm_service.settings import IssuerSettings
from tests.support.waiting import eventually

from ..running_service import NO_TLS, bearer
from .identity_provider import CLIENT, KEY, OTHER_KEY, SECRET, running
from .people import person, place_of, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .identity_provider import IdentityProvider
    from .people import Person

TABLE = "CREATE TABLE {{tables.t}} (id integer PRIMARY KEY)"
# The service's address is not known before it runs; the one in the setting only has to match the redirect URI.
ORIGIN = "http://pgdbm.example"
BACK = f"{ORIGIN}/ui/sign-in/acme/callback"


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    with running() as provider:
        yield provider


@pytest.fixture
def settings(provider: IdentityProvider, tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    return {
        "auth": "jwt",
        "jwt_issuer": provider.url,
        "jwt_audience": "pgdbm",
        "oidc_client_id": CLIENT,
        "oidc_client_secret_file": tmp_path / "secret",
        "oidc_name": "Acme",
        "public_origin": ORIGIN,
        "auth_failures_per_minute": 10000,
    }


@pytest.fixture
def service(start: Callable[..., Any], settings: dict[str, Any]) -> Any:
    return start(**settings)


@pytest.fixture
def ada(service: Any) -> Iterator[Person]:
    with person(service) as ada:
        yield ada


def at_the_provider(address: str) -> str:
    """Follow the browser to the provider, and return the path of the callback."""
    place = httpx2.get(address, verify=NO_TLS).headers["location"]
    assert place.startswith(f"{ORIGIN}/")
    return place.removeprefix(ORIGIN)


def return_path(ada: Person, wanted: str = "/ui", key: str = "acme") -> str:
    return at_the_provider(place_of(ada.open(f"/ui/sign-in/{key}/start", params={"next": wanted})))


def changed(path: str, **query: str | None) -> str:
    parts = urlsplit(path)
    values = dict(parse_qsl(parts.query)) | query
    return f"{parts.path}?{urlencode({name: value for name, value in values.items() if value is not None})}"


def refusal(answer: httpx2.Response) -> str:
    assert answer.status_code == 401, answer.status_code
    assert answer.headers["content-type"].startswith("text/html")
    assert "pgdbm_session" not in answer.headers.get("set-cookie", "").replace("pgdbm_session=;", "")
    return text_of(answer)


def test_signing_in_at_the_provider_returns_to_the_wanted_page(ada: Person, provider: IdentityProvider) -> None:
    assert "Sign in with Acme" in text_of(ada.open("/ui/sign-in"))
    start = ada.open("/ui/sign-in/acme/start", params={"next": "/ui/runs?module=m"})
    address = place_of(start)
    query = {name: value for name, (value,) in parse_qs(urlsplit(address).query).items()}
    assert address.startswith(f"{provider.url}/authorize?")
    assert (query["response_type"], query["code_challenge_method"], query["scope"]) == ("code", "S256", "openid")
    assert (query["client_id"], query["redirect_uri"]) == (CLIENT, BACK)
    assert len({query["state"], query["nonce"], query["code_challenge"]}) == 3
    assert all(len(query[name]) == 43 for name in ("state", "nonce", "code_challenge"))
    assert {"httponly", "samesite=lax"} <= set(start.headers["set-cookie"].lower().split("; "))
    answer = ada.open(at_the_provider(address))
    assert place_of(answer) == "/ui/runs?module=m"
    assert ada.open("/ui/runs?module=m").status_code == 200
    account = text_of(ada.open("/ui/account"))
    assert "jwt:ada" in account
    assert provider.url in account
    # The browser keeps no attempt to sign in, and each attempt has different values.
    assert list(ada.client.cookies) == ["pgdbm_session"]
    again = {name: value for name, (value,) in parse_qs(place_of(ada.open("/ui/sign-in/acme/start"))).items()}
    assert not {again["state"], again["nonce"], again["code_challenge"]} & set(query.values())


def test_scopes_are_mapped_as_those_of_a_bearer_token(
    start: Callable[..., Any], settings: dict[str, Any], provider: IdentityProvider, repo: Any
) -> None:
    repo.write("orders", _001_a=TABLE)
    repo.write("users", _001_a=TABLE)
    subjects = {"ada": ["migrate:orders"]}
    service = start(**settings | {"jwt_scope_claim": "roles", "jwt_subject_scopes": subjects})
    provider.claims = {"roles": ["read", "nonsense"]}
    with person(service) as ada:
        place_of(ada.open(return_path(ada)))
        assert "Migrate…" in ada.open("/ui/modules/orders").text
        assert "Migrate…" not in ada.open("/ui/modules/users").text
        assert ada.open("/ui/tokens").status_code == 403


def test_a_session_works_on_every_replica_and_so_does_the_return(
    start: Callable[..., Any], settings: dict[str, Any]
) -> None:
    first, second = start(**settings), start(**settings)
    with person(first) as here, person(second) as there:
        path = return_path(here)
        there.client.cookies.update(here.client.cookies)
        assert place_of(there.open(path)) == "/ui"
        here.cookie = str(there.cookie)
        assert here.open("/ui").status_code == 200
        here.send("/ui/sign-out/everywhere")
        eventually(lambda: there.open("/ui").status_code == 303)


@pytest.mark.parametrize("path", ["/ui/sign-out", "/ui/sign-out/everywhere"])
def test_signing_out_leads_to_the_provider_if_it_can_end_its_session(
    ada: Person, provider: IdentityProvider, path: str
) -> None:
    provider.discovery = {"end_session_endpoint": f"{provider.url}/end?realm=shop"}
    ada.open(return_path(ada))
    asked = text_of(ada.open("/ui/sign-out/everywhere"))
    assert f"You are then also signed out at {provider.url} in this browser." in asked
    assert "Your other browsers stay signed in there, because only the browser itself can end its session" in asked
    page = ada.send(path)
    assert page.status_code == 200
    assert ada.cookie is None
    (link,) = re.findall(r'<a class="button wide primary" href="([^"]+)"', page.text)
    address = html.unescape(link)
    assert address.startswith(f"{provider.url}/end?")
    assert dict(parse_qsl(urlsplit(address).query)) == {
        "realm": "shop",
        "client_id": CLIENT,
        "post_logout_redirect_uri": f"{ORIGIN}/ui/sign-in",
    }
    assert ada.open("/ui").status_code == 303


# An endpoint without TLS is not used.
@pytest.mark.parametrize("discovery", [{}, {"end_session_endpoint": "http://idp.example/end"}])
def test_otherwise_it_leads_to_the_page_to_sign_in(
    ada: Person, provider: IdentityProvider, discovery: dict[str, str]
) -> None:
    provider.discovery = discovery
    for path in ("/ui/sign-out", "/ui/sign-out/everywhere"):
        ada.open(return_path(ada))
        assert f"{provider.url} does not support signing out" in text_of(ada.open("/ui/sign-out/everywhere"))
        assert place_of(ada.send(path)) == "/ui/sign-in"


def test_an_answer_that_does_not_match_is_refused(ada: Person) -> None:
    refusals: list[tuple[dict[str, str | None], str]] = [
        ({"state": "x" * 43}, "the state in the answer does not belong to this browser"),
        ({"state": None}, "the state in the answer does not belong to this browser"),
        ({"state": "é"}, "the state in the answer does not belong to this browser"),
        ({"iss": "https://evil.example"}, "not from the identity provider that the request went to"),
        ({"iss": None}, "not from the identity provider that the request went to"),
        ({"code": None}, "has no code"),
        ({"code": "guessed"}, "refused the code"),
        ({"code": None, "error": "access_denied", "error_description": "Call 555-0100"}, "refused to sign you in"),
    ]
    for query, reason in refusals:
        text = refusal(ada.open(changed(return_path(ada), **query)))
        assert reason in text
        # Anyone can write the text in the address.
        assert "555" not in text
        assert ada.open("/ui").status_code == 303


def test_the_answer_to_another_browser_is_refused(ada: Person, service: Any) -> None:
    with person(service) as eve:
        path = return_path(eve)
        # An answer without an attempt of this browser, then with another attempt: login CSRF.
        assert "did not start to sign in" in refusal(ada.open(path))
        return_path(ada)
        assert "state" in refusal(ada.open(path))


def test_a_code_is_accepted_once(ada: Person, provider: IdentityProvider) -> None:
    path = return_path(ada)
    attempt = dict(ada.client.cookies)
    place_of(ada.open(path))
    assert "did not start to sign in" in refusal(ada.open(path))
    # A stolen cookie does not help: the provider redeems a code once.
    ada.client.cookies.clear()
    ada.client.cookies.update(attempt)
    assert "refused the code" in refusal(ada.open(path))
    assert len(provider.redeemed) == 2


def test_an_id_token_that_is_not_for_this_sign_in_is_refused(ada: Person, provider: IdentityProvider) -> None:
    now = int(time.time())
    wrong: list[dict[str, Any]] = [
        *({"nonce": nonce} for nonce in ("x" * 43, None, 7)),
        *({"iss": issuer} for issuer in ("https://evil.example", None)),
        *({"aud": audience} for audience in ("pgdbm", "another-client", [CLIENT, "another-client"], None)),
        {"azp": "another-client"},
        {"exp": now - 60},
        {"exp": None},
        {"nbf": now + 600},
        {"sub": None},
        {"sub": ""},
    ]
    for claims in wrong:
        provider.claims = claims
        refusal(ada.open(return_path(ada)))
        assert ada.cookie is None, claims
    provider.claims = {"aud": [CLIENT, "another-client"], "azp": CLIENT}
    assert place_of(ada.open(return_path(ada))) == "/ui"


def test_an_id_token_has_to_be_signed_with_the_key_of_the_issuer(ada: Person, provider: IdentityProvider) -> None:
    public = KEY.public_key().public_numbers().n.to_bytes(256, "big")
    for algorithm, key in (("none", None), ("HS256", public), ("RS256", OTHER_KEY)):
        provider.algorithm, provider.key = algorithm, key
        refusal(ada.open(return_path(ada)))
    provider.algorithm, provider.key = "PS256", KEY
    assert place_of(ada.open(return_path(ada))) == "/ui"


def test_an_id_token_is_no_bearer_token(ada: Person, provider: IdentityProvider, service: Any) -> None:
    assert service.get("/modules", headers=bearer(provider.id_token("x" * 43))).status_code == 401


def test_a_code_of_one_provider_is_not_sent_to_another(
    start: Callable[..., Any], settings: dict[str, Any], provider: IdentityProvider
) -> None:
    with running() as other:
        # Neither sends iss: only their redirect URIs distinguish them.
        provider.discovery = other.discovery = {"authorization_response_iss_parameter_supported": None}
        provider.answer = other.answer = {"iss": None}
        other.secret = None
        more = IssuerSettings(issuer=other.url, audience="x", oidc_client_id=CLIENT, oidc_name="Other")
        service = start(**settings | {"jwt_issuers": [more]})
        with person(service) as ada:
            page = text_of(ada.open("/ui/sign-in"))
            assert "Sign in with Acme" in page
            assert "Sign in with Other" in page
            path = return_path(ada)
            assert "did not start to sign in" in refusal(ada.open(path.replace("/acme/", "/other/")))
            assert other.redeemed == []
            # A client without a secret, and a principal that is not that of the first issuer.
            assert place_of(ada.open(return_path(ada, key="other"))) == "/ui"
            assert f"jwt:{other.url}#ada" in text_of(ada.open("/ui/account"))
            provider.answer = {"iss": other.url}
            assert "not from the identity provider that the request went to" in refusal(ada.open(return_path(ada)))


def test_the_secret_is_sent_as_the_provider_requires(ada: Person, provider: IdentityProvider) -> None:
    place_of(ada.open(return_path(ada)))
    assert "client_secret" not in provider.redeemed[-1]


def test_the_secret_in_the_body(
    start: Callable[..., Any], settings: dict[str, Any], provider: IdentityProvider
) -> None:
    provider.discovery = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    with person(start(**settings)) as ada:
        place_of(ada.open(return_path(ada)))
        assert provider.redeemed[-1]["client_secret"] == SECRET


@pytest.mark.parametrize("fault", ["token endpoint", "no endpoint", "unsafe endpoint", "another issuer", "away"])
def test_a_failure_of_the_provider_is_reported(
    start: Callable[..., Any], settings: dict[str, Any], provider: IdentityProvider, fault: str
) -> None:
    service = start(**settings)
    with person(service) as ada:
        if fault == "token endpoint":
            provider.status = 500
            answer = ada.open(return_path(ada))
        else:
            provider.discovery = {
                "no endpoint": {"authorization_endpoint": None},
                "unsafe endpoint": {"authorization_endpoint": "http://acme.example/authorize"},
                "another issuer": {"issuer": "https://evil.example"},
                "away": {"issuer": None},
            }[fault]
            answer = ada.open("/ui/sign-in/acme/start")
        assert answer.status_code == 503
        assert "identity provider" in text_of(answer)
        # The page still offers the other providers and the token.
        assert 'name="token"' in answer.text


def test_a_provider_that_is_no_longer_configured_ends_its_sessions(
    start: Callable[..., Any], settings: dict[str, Any]
) -> None:
    before = start(**settings)
    after = start(**settings | {"oidc_client_id": None, "oidc_client_secret_file": None})
    with person(before) as ada, person(after) as there:
        place_of(ada.open(return_path(ada)))
        there.cookie = str(ada.cookie)
        assert place_of(there.open("/ui")) == "/ui/sign-in"
        assert there.open("/ui/sign-in/acme/start").status_code == 404


def test_guessed_codes_are_throttled(start: Callable[..., Any], settings: dict[str, Any], provider: Any) -> None:
    with person(start(**settings | {"auth_failures_per_minute": 3})) as ada:
        for expected in (401, 401, 401, 429):
            assert ada.open(changed(return_path(ada), code="guessed")).status_code == expected
        assert len(provider.redeemed) == 3


def test_behind_a_prefix_the_redirect_uri_and_the_return_have_it(
    start: Callable[..., Any], settings: dict[str, Any], provider: IdentityProvider
) -> None:
    with person(start(**settings | {"path_prefix": "/pgdbm"})) as ada:
        path = at_the_provider(place_of(ada.open("/pgdbm/ui/sign-in/acme/start", params={"next": "/ui/runs"})))
        assert path.startswith("/pgdbm/ui/sign-in/acme/callback?")
        assert place_of(ada.open(path)) == "/pgdbm/ui/runs"
        ada.client.cookies.clear()
        assert place_of(ada.open("/pgdbm/ui/runs")) == "/pgdbm/ui/sign-in?next=%2Fui%2Fruns"


def test_a_sign_in_at_a_provider_is_in_the_audit(
    ada: Person, service: Any, make_token: Any, provider: IdentityProvider
) -> None:
    ada.open(changed(return_path(ada), state=None))
    place_of(ada.open(return_path(ada)))

    def entries() -> list[Any]:
        items = service.get("/audit", headers=bearer(make_token("admin"))).json()["items"]
        return [(one["principal"], one["http_status"]) for one in items if one["path"].endswith("/callback")]

    eventually(lambda: entries() == [("jwt:ada", 303), ("anonymous", 401)])


def test_neither_codes_nor_secrets_are_logged(
    start: Callable[..., Any], settings: dict[str, Any], caplog: pytest.LogCaptureFixture, provider: Any
) -> None:
    with person(start(**settings | {"log_level": "info"})) as ada:
        path = return_path(ada)
        attempt = ada.client.cookies["pgdbm_sign_in"].split(".")[1]
        place_of(ada.open(path))
        refusal(ada.open(changed(return_path(ada), code="guessed-code-1234")))
        query = dict(parse_qsl(urlsplit(path).query))
        lines = [record.getMessage() for record in caplog.records if record.name.startswith("pgdbm_service")]
        assert any("signed in" in line for line in lines)
        for secret in (query["code"], query["state"], attempt, SECRET, str(ada.cookie), "guessed-code-1234"):
            assert all(secret not in line for line in lines)
