"""Sessions of the dashboard, by token: how they start and end, and what they allow."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.support.waiting import eventually

from ..running_service import NO_TLS, bearer
from .people import COOKIE, OPENS, POLLS, person, place_of, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .people import Person

TABLE = "CREATE TABLE {{tables.t}} (id integer PRIMARY KEY)"
pytestmark = pytest.mark.settings(auth="tokens", auth_failures_per_minute=10000)


@pytest.fixture
def ada(service: Any) -> Iterator[Person]:
    with person(service) as ada:
        yield ada


@pytest.fixture
def signed_in(ada: Person, make_token: Any) -> Person:
    """With every scope."""
    assert place_of(ada.sign_in(make_token("admin", name="ada"))) == "/ui"
    return ada


def test_signing_in_with_a_token_returns_to_the_wanted_page(ada: Person, make_token: Any) -> None:
    token = make_token("read", name="ada")
    place = place_of(ada.open("/ui/runs?module=m"))
    assert place == "/ui/sign-in?next=%2Fui%2Fruns%3Fmodule%3Dm"
    page = ada.open(place)
    assert 'value="/ui/runs?module=m"' in page.text
    assert page.headers["cache-control"] == "no-store"
    answer = ada.sign_in(token, "/ui/runs?module=m")
    assert place_of(answer) == "/ui/runs?module=m"
    assert ada.open("/ui/runs?module=m").status_code == 200
    cookie = answer.headers["set-cookie"]
    assert {"httponly", "samesite=lax", "path=/"} <= set(cookie.lower().split("; "))
    assert "domain" not in cookie.lower()


def test_the_cookie_is_for_this_host_over_tls_only(start: Callable[..., Any], make_token: Any) -> None:
    token = make_token("read")
    service = start(auth="tokens", trusted_proxies="127.0.0.1")
    with person(service) as ada:
        ada.form_headers |= {"X-Forwarded-Proto": "https", "Origin": service.url}
        cookie = ada.sign_in(token).headers["set-cookie"]
        assert cookie.startswith("__Host-pgdbm_session=")
        assert {"secure", "path=/"} <= set(cookie.lower().split("; "))
        # One without the prefix, which any host of the domain can plant, is ignored where the browser uses TLS.
        value = cookie.partition("=")[2].partition(";")[0]
        for name, expected in (("pgdbm_session", 303), ("__Host-pgdbm_session", 200)):
            headers = OPENS | {"X-Forwarded-Proto": "https", "Cookie": f"{name}={value}"}
            assert httpx2.get(f"{service.url}/ui", headers=headers, verify=NO_TLS).status_code == expected


def test_the_token_is_neither_in_an_address_nor_in_the_page(ada: Person, make_token: Any) -> None:
    wrong = make_token("read")[:-1] + "!"
    page = ada.sign_in(wrong)
    assert page.status_code == 401
    assert "unknown, has expired or was revoked" in text_of(page)
    assert wrong not in page.text
    assert ada.cookie is None
    # Nor as a query parameter: it would be in the logs of proxies.
    assert ada.open("/ui/sign-in?token=x").status_code == 400


def test_a_session_lasts_no_longer_than_its_token(signed_in: Person, service: Any, sql: Callable[..., Any]) -> None:
    assert signed_in.open("/ui").status_code == 200
    (row,) = sql("SELECT id FROM pgdbm_service.tokens WHERE name = 'ada'")
    assert service.client.delete(f"/tokens/{row['id']}", headers=service.headers).status_code == 200
    place = place_of(signed_in.open("/ui"))
    assert place == "/ui/sign-in"
    # The browser forgets the cookie.
    assert signed_in.cookie is None


def test_the_scopes_of_a_session_are_those_of_its_token(ada: Person, service: Any, repo: Any, make_token: Any) -> None:
    repo.write("orders", _001_a=TABLE)
    repo.write("users", _001_a=TABLE)
    service.sync()
    ada.sign_in(make_token("read", "migrate:orders"))
    assert "Migrate…" in ada.open("/ui/modules/orders").text
    assert "Migrate…" not in ada.open("/ui/modules/users").text
    assert "/ui/tokens" not in ada.open("/ui").text
    assert ada.send("/ui/modules/users/migrate").status_code == 403
    for path in ("/ui/tokens", "/ui/audit"):
        assert ada.open(path).status_code == 403
    plan = ada.open("/ui/modules/orders/migrate").text.partition('name="plan" value="')[2].partition('"')[0]
    assert place_of(ada.send("/ui/modules/orders/migrate", plan=plan)).startswith("/ui/runs/")


def test_someone_without_the_scope_read_can_sign_out(ada: Person, make_token: Any) -> None:
    ada.sign_in(make_token("migrate:orders"))
    refused = ada.open("/ui")
    assert refused.status_code == 403
    assert "/ui/account" in refused.text
    assert "migrate:orders" in text_of(ada.open("/ui/account"))
    assert place_of(ada.send("/ui/sign-out")) == "/ui/sign-in"


def test_signing_out_ends_the_session_and_not_only_the_cookie(signed_in: Person) -> None:
    kept = signed_in.cookie
    assert kept is not None
    assert place_of(signed_in.send("/ui/sign-out")) == "/ui/sign-in"
    assert signed_in.cookie is None
    signed_in.cookie = kept
    assert place_of(signed_in.open("/ui")) == "/ui/sign-in"


def test_a_session_is_replaced_at_each_sign_in(signed_in: Person, make_token: Any) -> None:
    """Session fixation: the sign-in gives nothing to the one who planted a cookie."""
    planted = signed_in.cookie
    assert planted is not None
    assert place_of(signed_in.sign_in(make_token("read", name="eve"))) == "/ui"
    assert signed_in.cookie not in (None, planted)
    signed_in.cookie = planted
    assert place_of(signed_in.open("/ui")) == "/ui/sign-in"
    # A value that was never a session does not become one.
    signed_in.cookie = "0123456789abcdef_" + "A" * 43
    signed_in.sign_in(make_token("read"))
    assert signed_in.cookie != "0123456789abcdef_" + "A" * 43


@pytest.mark.parametrize(
    "tampered",
    [
        lambda cookie: cookie[:-1] + ("A" if cookie[-1] != "A" else "B"),
        lambda cookie: cookie + "A",
        lambda cookie: cookie[:-1],
        lambda cookie: ("0" if cookie[0] != "0" else "1") + cookie[1:],
        lambda cookie: cookie[:17] + "A" * 43,
        lambda cookie: cookie.upper(),
        lambda cookie: f"{cookie}; {COOKIE}={cookie}",
        lambda cookie: "",
        lambda cookie: "é" * 60,
        lambda cookie: "admin",
    ],
)
def test_a_tampered_cookie_is_no_session(signed_in: Person, tampered: Callable[[str], str]) -> None:
    cookie = signed_in.cookie
    assert cookie is not None
    raw = {b"Cookie": f"{COOKIE}={tampered(cookie)}".encode("latin-1")} | {
        name.encode(): value.encode() for name, value in OPENS.items()
    }
    answer = httpx2.get(f"{signed_in.url}/ui", headers=raw, verify=NO_TLS)
    assert answer.status_code in (303, 400)
    headers = raw | {b"Sec-Fetch-Mode": b"cors"}
    assert httpx2.get(f"{signed_in.url}/ui", headers=headers, verify=NO_TLS).status_code in (401, 400)
    assert signed_in.open("/ui").status_code == 200


def test_the_database_does_not_contain_the_cookie(signed_in: Person, sql: Callable[..., Any]) -> None:
    (row,) = sql("SELECT * FROM pgdbm_service.dashboard_sessions WHERE principal = 'token:ada'")
    assert signed_in.cookie is not None
    assert row["digest"] == hashlib.sha256(signed_in.cookie.encode()).digest()
    secret = signed_in.cookie.partition("_")[2]
    assert all(secret not in str(value) for value in row.values())


def test_a_session_ends_after_a_while_without_use(start: Callable[..., Any], make_token: Any, sql: Any) -> None:
    service = start(auth="tokens", session_idle_s=100)
    with person(service) as ada:
        ada.sign_in(make_token("read", name="ada"))
        # Each request prolongs it: the first one was eleven seconds ago.
        sql("UPDATE pgdbm_service.dashboard_sessions SET seen_at = seen_at - interval '11 seconds'")
        then = "SELECT seen_at > now() - interval '10 seconds' AS recent FROM pgdbm_service.dashboard_sessions"
        eventually(lambda: ada.open("/ui").status_code == 200 and sql(then)[0]["recent"])
        # A page that keeps itself up to date does not.
        sql("UPDATE pgdbm_service.dashboard_sessions SET seen_at = seen_at - interval '50 seconds'")
        for _ in range(3):
            assert ada.open("/ui/database/activity", headers=POLLS).status_code == 200
        assert not sql(then)[0]["recent"]
        sql("UPDATE pgdbm_service.dashboard_sessions SET seen_at = seen_at - interval '51 seconds'")
        eventually(lambda: ada.open("/ui").status_code == 303)


def test_a_session_ends_however_much_it_is_used(start: Callable[..., Any], make_token: Any, sql: Any) -> None:
    service = start(auth="tokens", session_lifetime_s=1000)
    with person(service) as ada:
        answer = ada.sign_in(make_token("read"))
        assert "Max-Age=1000" in answer.headers["set-cookie"]
        sql("UPDATE pgdbm_service.dashboard_sessions SET expires_at = now() + interval '1 second'")
        eventually(lambda: ada.open("/ui").status_code == 303)
        # The next sign-in deletes what has expired.
        ada.sign_in(make_token("read", name="eve"))
        assert [row["principal"] for row in sql("SELECT principal FROM pgdbm_service.dashboard_sessions")] == [
            "token:eve"
        ]


def test_the_number_of_sessions_is_limited(signed_in: Person, sql: Callable[..., Any], make_token: Any) -> None:
    sql(
        "INSERT INTO pgdbm_service.dashboard_sessions (id, digest, principal, scopes, address, started_at, expires_at)"
        " SELECT 'x' || n, '', 'token:ada', '{read}', 'x', now() - n * interval '1 second', now() + interval '1 hour'"
        " FROM generate_series(1, 150) n"
    )
    signed_in.sign_in(make_token("read", name="eve"))
    counted = "SELECT count(*) AS found FROM pgdbm_service.dashboard_sessions WHERE principal = 'token:ada'"
    # Sessions of other principals are unchanged; this browser's session was replaced.
    assert sql(counted)[0]["found"] == 150
    sql("UPDATE pgdbm_service.dashboard_sessions SET principal = 'token:bob' WHERE principal = 'token:ada'")
    signed_in.sign_in(make_token("read", name="bob"))
    assert sql(counted.replace("ada", "bob"))[0]["found"] == 100


def test_signing_out_everywhere_reaches_every_replica(start: Callable[..., Any], make_token: Any) -> None:
    token = make_token("read", name="ada")
    first, second = start(auth="tokens"), start(auth="tokens")
    with person(first) as here, person(second) as there, person(second) as other:
        here.sign_in(token)
        there.sign_in(token)
        other.sign_in(make_token("read", name="eve"))
        # A session works on each replica.
        elsewhere = httpx2.get(f"{second.url}/ui", headers=OPENS, cookies={COOKIE: str(here.cookie)}, verify=NO_TLS)
        assert elsewhere.status_code == 200
        assert "2 sessions of token:ada will end" in text_of(here.open("/ui/sign-out/everywhere"))
        assert place_of(here.send("/ui/sign-out/everywhere")) == "/ui/sign-in"
        assert place_of(here.open("/ui")) == "/ui/sign-in"
        eventually(lambda: there.open("/ui").status_code == 303)
        assert other.open("/ui").status_code == 200


def lines_until_signed_out(ada: Person, path: str, sign_out: Callable[[], Any]) -> list[str]:
    """The lines of a stream that is followed while ``sign_out`` is called."""
    started = threading.Event()
    lines: list[str] = []

    def follow() -> None:
        with ada.client.stream("GET", path, headers=POLLS | {"Accept": "text/event-stream"}) as answer:
            assert answer.status_code == 200
            started.set()
            lines.extend(answer.iter_lines())

    thread = threading.Thread(target=follow)
    thread.start()
    assert started.wait(30)
    sign_out()
    thread.join(30)
    assert not thread.is_alive()
    return lines


@pytest.mark.parametrize("path", ["/ui/live", "/events"])
def test_a_stream_works_with_the_cookie_and_ends_with_the_session(signed_in: Person, service: Any, path: str) -> None:
    with person(service) as elsewhere:
        elsewhere.cookie = str(signed_in.cookie)
        lines = lines_until_signed_out(signed_in, path, lambda: elsewhere.send("/ui/sign-out"))
    assert "event: session:ended" in lines[-3:]


@pytest.mark.parametrize("path", ["/ui/live", "/events"])
def test_a_stream_ends_when_the_token_is_revoked(signed_in: Person, service: Any, sql: Any, path: str) -> None:
    (row,) = sql("SELECT id FROM pgdbm_service.tokens WHERE name = 'ada'")
    lines = lines_until_signed_out(
        signed_in, path, lambda: service.client.delete(f"/tokens/{row['id']}", headers=service.headers)
    )
    assert "event: session:ended" in lines[-3:]


def test_a_stream_does_not_keep_a_session_alive(signed_in: Person, sql: Callable[..., Any]) -> None:
    idle = "UPDATE pgdbm_service.dashboard_sessions SET seen_at = seen_at - interval '2 hours'"
    lines = lines_until_signed_out(signed_in, "/ui/live", lambda: sql(idle))
    assert "event: session:ended" in lines[-3:]


def test_a_stream_ends_when_the_session_is_ended_on_another_replica(start: Callable[..., Any], make_token: Any) -> None:
    first, second = start(auth="tokens"), start(auth="tokens")
    with person(first) as ada, person(second) as there:
        ada.sign_in(make_token("read"))
        there.cookie = str(ada.cookie)
        lines = lines_until_signed_out(ada, "/ui/live", lambda: there.send("/ui/sign-out"))
        assert "event: session:ended" in lines[-3:]


def test_the_api_takes_the_cookie_for_the_stream_only(signed_in: Person, service: Any, repo: Any) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    with signed_in.client.stream("GET", "/events", headers=POLLS) as answer:
        assert answer.status_code == 200
    for method, path in (("GET", "/modules"), ("POST", "/modules/m/migrate"), ("GET", "/tokens"), ("POST", "/events")):
        answer = signed_in.client.request(method, path, headers=signed_in.form_headers)
        assert answer.status_code in (401, 405), path


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "{own}", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "http://localhost.evil.example"},
    ],
)
def test_a_change_without_proof_of_its_origin_is_refused(
    signed_in: Person, service: Any, repo: Any, headers: dict[str, str]
) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    sent = {name: value.format(own=signed_in.url) for name, value in headers.items()}
    for path in (
        "/ui/modules/m/migrate",
        "/ui/migrate",
        "/ui/tokens",
        "/ui/sign-out",
        "/ui/sign-out/everywhere",
        "/ui/sign-in",
    ):
        answer = signed_in.client.post(path, data={"name": "x", "read": "on"}, headers=sent)
        assert answer.status_code == 403, path
        assert answer.headers["content-type"].startswith("text/html")
    assert service.get("/modules/m", headers=service.headers).json()["applied"] == 0
    assert signed_in.open("/ui").status_code == 200


def test_one_proof_is_enough(signed_in: Person, make_token: Any) -> None:
    for headers in ({"Origin": signed_in.url}, {"Sec-Fetch-Site": "same-origin"}):
        signed_in.sign_in(make_token("read"))
        assert signed_in.client.post("/ui/sign-out", headers=headers).status_code == 303


def test_an_allowed_origin_of_the_api_proves_nothing_for_a_cookie(start: Callable[..., Any], make_token: Any) -> None:
    service = start(auth="tokens", cors_origins="http://other.example")
    with person(service) as ada:
        ada.sign_in(make_token("read"))
        assert ada.client.post("/ui/sign-out", headers={"Origin": "http://other.example"}).status_code == 403


@pytest.mark.parametrize(
    "wanted",
    [
        "https://evil.example/",
        "//evil.example/ui",
        "/\\evil.example",
        "/ui\\..\\..\\x",
        "\t/ui",
        "/ui/../../evil",
        "/ui/%2e%2e/evil",
        "/ui/%252e%252e/evil",
        "/ui//evil.example",
        "javascript:alert(1)",
        "/uix",
        "/modules",
        "/ui/sign-in",
        "/ui/sign-out/everywhere",
        "/ui/live",
        "/ui@evil.example",
        "/ui/runs\r\nSet-Cookie: x=y",
        "/ui/" + "x" * 3000,
    ],
)
def test_the_return_after_signing_in_never_leaves_the_dashboard(ada: Person, make_token: Any, wanted: str) -> None:
    assert place_of(ada.sign_in(make_token("read"), wanted)) == "/ui"
    assert 'name="next" value="/ui"' in ada.open("/ui/sign-in", params={"next": wanted}).text


def test_guesses_are_throttled_as_for_bearer_tokens(start: Callable[..., Any], make_token: Any) -> None:
    service = start(auth="tokens", auth_failures_per_minute=3)
    token = make_token("read")
    with person(service) as ada:
        for expected in (401, 401, 401, 429):
            answer = ada.sign_in("pgdbm_000000000000_" + "A" * 43)
            assert answer.status_code == expected
        assert int(answer.headers["retry-after"]) >= 1
        assert "Try again in" in text_of(answer)
        # Failures count as those of the API do, and a valid token still works.
        assert service.get("/modules", headers=bearer("pgdbm_000000000000_" + "B" * 43)).status_code == 429
        assert place_of(ada.sign_in(token)) == "/ui"
        cookie = str(ada.cookie)
        # Values that are not valid cookies are counted separately and never answered with 429; a valid one is still
        # served.
        for number in range(6):
            ada.cookie = f"{number:016x}_" + "A" * 43
            assert place_of(ada.open("/ui")) == "/ui/sign-in"
        ada.cookie = cookie
        assert ada.open("/ui").status_code == 200


def test_a_poll_of_a_page_that_is_signed_out_is_no_redirect(ada: Person) -> None:
    for path in ("/ui/database/activity", "/ui/live", "/events"):
        answer = ada.open(path, headers=POLLS)
        assert answer.status_code == 401, path
    assert ada.open("/ui/database/activity", headers=POLLS).headers["hx-refresh"] == "true"
    # The form of a page that was open for a long time: the browser returns to that page.
    ada.form_headers["Referer"] = f"{ada.url}/ui/modules/m/migrate?schema=s"
    refused = ada.send("/ui/modules/m/migrate")
    assert refused.status_code == 401
    assert 'href="/ui/sign-in?next=%2Fui%2Fmodules%2Fm%2Fmigrate%3Fschema%3Ds"' in refused.text
    ada.form_headers["Referer"] = "https://evil.example/ui/../x"
    assert 'href="/ui/sign-in"' in ada.send("/ui/modules/m/migrate").text


def test_a_bearer_token_still_opens_pages(service: Any, make_token: Any) -> None:
    page = service.get("/ui", headers=bearer(make_token("read", name="proxy")))
    assert page.status_code == 200
    assert "sign-out" not in page.text


def test_sign_ins_are_in_the_audit(signed_in: Person, service: Any) -> None:
    signed_in.sign_in("pgdbm_000000000000_" + "A" * 43)

    def entries() -> list[Any]:
        items = service.get("/audit", headers=service.headers).json()["items"]
        return [one for one in items if one["path"] == "/ui/sign-in"]

    eventually(lambda: len(entries()) == 2)
    refused, done = entries()
    assert (done["principal"], done["http_status"]) == ("token:ada", 303)
    # The previous session of the browser is not ended by a failed attempt.
    assert (refused["principal"], refused["problem_code"]) == ("anonymous", "unauthenticated")


def test_the_account_lists_where_one_is_signed_in(signed_in: Person, service: Any, make_token: Any) -> None:
    text = text_of(signed_in.open("/ui/account"))
    assert "token:ada" in text
    assert "(this one)" in text
    assert "127.0.0.1" in text
    assert "admin" in text


@pytest.mark.settings
def test_without_auth_no_one_signs_in(service: Any) -> None:
    with person(service) as ada:
        assert ada.open("/ui").status_code == 200
        for path in ("/ui/sign-in", "/ui/account"):
            assert place_of(ada.open(path)) == "/ui"
        assert "account" not in ada.open("/ui").text
        assert ada.open("/ui/tokens").status_code == 200
