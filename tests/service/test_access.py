"""Who may do what over HTTP: tokens, scopes, what is open, and how often one may be wrong."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar import Litestar, get

from pgdbm_service.auth.access import Access
from pgdbm_service.auth.attempts import Attempts
from pgdbm_service.errors import Problem
from pgdbm_service.scopes import allows, check_scopes, is_scope
from pgdbm_service.settings import Settings, SettingsError, read_settings

from .running import http_get

if TYPE_CHECKING:
    from collections.abc import Callable

URL = "postgresql://u:hunter2@127.0.0.1:5432/x"
# Of the service that tests share.
pytestmark = pytest.mark.settings(auth="tokens", auth_failures_per_minute=10000)
OPEN = {("get", "/health/live"), ("get", "/health/ready"), ("get", "/metrics"), ("get", "/errors/{code}")}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def code_of(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


def calls_of(service: Any) -> list[tuple[str, str]]:
    """Method and path of every call that is described, with something for each parameter."""
    paths = service.get("/docs/openapi.json").json()["paths"]
    return [(method, path) for path, methods in paths.items() for method in methods]


def filled(path: str) -> str:
    values = {"module": "orders", "run_id": "7f1d2c3b-0000-4000-8000-000000000000"}
    return re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], "x"), path)


def test_without_a_token_nothing_but_what_is_open(service: Any, repo: Any, make_token: Any) -> None:
    repo.write("orders", _001_a="SELECT 1")
    service.sync()
    token = make_token("admin")
    document = service.get("/docs/openapi.json").json()
    assert document["components"]["securitySchemes"]["bearer"] == {"type": "http", "scheme": "bearer"}
    assert document["security"] == [{"bearer": []}]
    calls = calls_of(service)
    assert len(calls) > 15
    for method, path in calls:
        answer = service.client.request(method, filled(path))
        if (method, path) in OPEN:
            assert answer.status_code != 401
            continue
        assert code_of(answer) == (401, "unauthenticated"), (method, path)
        assert answer.headers["www-authenticate"] == 'Bearer realm="pgdbm"'
        assert {"401", "403", "429"} <= set(document["paths"][path][method]["responses"])
        assert service.client.request(method, filled(path), headers=bearer(token)).status_code not in (401, 403)
    for path in ("/", "/docs", "/docs/openapi.json", "/static/swagger-ui/swagger-ui.css"):
        assert service.get(path).status_code in (200, 302), path


def test_a_token_for_another_module_is_of_no_use(service: Any, repo: Any, make_token: Any) -> None:
    repo.write("orders", _001_a="SELECT 1")
    service.sync()
    headers = bearer(make_token("migrate:users", "register:users"))
    for method, path in calls_of(service):
        # Those of a run ask for its module: see below.
        if (method, path) not in OPEN and not path.startswith("/runs/{run_id}/"):
            answer = service.client.request(method, filled(path), headers=headers)
            assert code_of(answer) == (403, "forbidden"), (method, path)
            assert "insufficient_scope" in answer.headers["www-authenticate"]


def test_runs_are_for_who_may_migrate_their_module(service: Any, repo: Any, make_token: Any) -> None:
    repo.write("orders", _001_a="SELECT 1")
    service.sync()
    run = service.post("/modules/orders/migrate", headers=bearer(make_token("migrate:orders"))).json()["run_id"]
    users, reader = bearer(make_token("migrate:users")), bearer(make_token("read"))
    for call in ("cancel", "retry"):
        for headers in (users, reader):
            assert code_of(service.post(f"/runs/{run}/{call}", headers=headers)) == (403, "forbidden")
    assert code_of(service.get(f"/runs/{run}", headers=users)) == (403, "forbidden")
    assert service.get(f"/runs/{run}", headers=reader).status_code == 200


def test_scopes(service: Any, repo: Any, sql: Callable[..., Any], make_token: Any) -> None:
    repo.write("orders", _001_a="SELECT 1")
    repo.write("users", _001_a="SELECT 1")
    service.sync()
    reader = bearer(make_token("read", name="reader"))
    migrator = bearer(make_token("migrate:ord*", name="migrator"))
    everything = bearer(make_token("migrate:*"))

    assert service.get("/modules", headers=reader).status_code == 200
    refused = service.post("/modules/orders/migrate", headers=reader)
    assert code_of(refused) == (403, "forbidden")
    assert refused.json()["scope"] == "migrate:orders"
    assert "token:reader" in refused.json()["detail"]
    assert service.get("/tokens", headers=reader).json()["scope"] == "admin"

    assert service.get("/modules", headers=migrator).json()["scope"] == "read"
    assert service.post("/modules/users/migrate", headers=migrator).json()["scope"] == "migrate:users"
    for name in ("users%2Forders", "x%2F..%2Forders", "%0aorders", "Orders"):
        assert service.post(f"/modules/{name}/migrate", headers=migrator).status_code in (403, 404), name
    assert sql("SELECT FROM pg_namespace WHERE nspname IN ('orders', 'users')") == []
    # All of them, or none.
    refused = service.post("/migrate", headers=migrator)
    assert (refused.status_code, refused.json()["scope"]) == (403, "migrate:users")
    assert service.post("/migrate", headers=reader).json()["scope"] == "migrate:…"
    assert sql("SELECT FROM pg_namespace WHERE nspname IN ('orders', 'users')") == []

    assert service.post("/modules/orders/migrate", headers=migrator).json()["status"] == "success"
    done = service.post("/migrate", headers=everything).json()
    assert done["status"] == "success"
    # It is a run of all of them.
    stopped = [service.post(f"/runs/{done['run_id']}/cancel", headers=one) for one in (migrator, everything)]
    assert [code_of(one) for one in stopped] == [(403, "forbidden"), (409, "run_ended")]


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Basic dTpw",
        "Bearer x",
        "Bearer a.b.c",
        "Bearer pgdbm_000000000000_" + "A" * 43,
        "Bearer pgdbm_" + "é" * 5,
        "Token {token}",
        "Bearer {token} {token}",
        "Bearer {token}x",
        "Bearer {id}" + "A" * 43,
    ],
)
def test_what_is_no_token(service: Any, make_token: Any, header: str) -> None:
    token = make_token("admin")
    assert service.get("/modules", headers=bearer(token)).status_code == 200
    assert service.get("/modules", headers={"Authorization": f"bearer  {token}"}).status_code == 200
    value = header.format(token=token, id=token[:19]).encode()
    answer = service.get("/modules", headers={b"Authorization": value})
    assert code_of(answer) == (401, "unauthenticated")
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    twice = service.client.get("/modules", headers=[("Authorization", f"Bearer {token}")] * 2)
    assert twice.status_code == 401


def test_too_many_attempts(start: Callable[..., Any], repo: Any, make_token: Any) -> None:
    service = start(auth="tokens", auth_failures_per_minute=3)
    seen, new = make_token("read"), make_token("read")
    assert service.get("/modules", headers=bearer(seen)).status_code == 200
    wrong = bearer("pgdbm_000000000000_" + "A" * 43)
    for _ in range(3):
        assert service.get("/modules", headers=wrong).status_code == 401
    refused = service.get("/modules", headers=wrong)
    assert code_of(refused) == (429, "too_many_attempts")
    assert 1 <= int(refused.headers["retry-after"]) == refused.json()["retry_after"] <= 20
    # Nothing that is new is looked at, right or wrong; what was good before is, and so is what is open.
    assert service.get("/modules", headers=bearer(new)).status_code == 429
    assert service.get("/modules", headers=bearer(seen)).status_code == 200
    assert service.get("/health/live").status_code == 200
    with httpx.Client(base_url=service.url, transport=httpx.HTTPTransport(local_address="127.0.0.2")) as elsewhere:
        assert elsewhere.get("/modules", headers=bearer(new)).status_code == 200
    # Nor is anybody in the way who sends no token at all.
    for expected in (401, 401, 401, 429):
        assert service.get("/modules").status_code == expected


@given(per_minute=st.integers(1, 100), pauses=st.lists(st.floats(0, 10), max_size=50))
def test_no_more_failures_than_the_limit(per_minute: int, pauses: list[float]) -> None:
    """Nobody gets more than the bucket and what has dripped into it since; others are not in the way."""
    now = 0.0
    attempts = Attempts(per_minute, clock=lambda: now)
    looked_at = 0
    for pause in pauses:
        now += pause
        with contextlib.suppress(Problem):
            attempts.before("10.0.0.1", "wrong")
            attempts.failed("10.0.0.1")
            looked_at += 1
            continue
        # Who waits as long as the answer says is looked at again.
        with pytest.raises(Problem) as refused:
            attempts.before("10.0.0.1", "wrong")
        now += refused.value.fields["retry_after"]
        attempts.before("10.0.0.1", "wrong")
        attempts.failed("10.0.0.1")
        looked_at += 1
        attempts.before("10.0.0.2", "wrong")
    assert looked_at <= per_minute * (1 + now / 60) + 1


def test_addresses_of_one_network() -> None:
    attempts = Attempts(1, clock=lambda: 0.0)
    attempts.failed("2001:db8::1")
    with pytest.raises(Problem):
        attempts.before("2001:db8::ffff:2", "x")
    attempts.before("2001:db8:0:1::1", "x")
    attempts.failed("::ffff:10.0.0.1")
    attempts.before("::ffff:10.0.0.2", "x")
    for number in range(20_000):
        attempts.failed(f"2001:db8:{number:x}::1")
    assert len(attempts._left) <= 10_000


NAMES = st.text("ab.-_", max_size=8)
GLOBS = st.text("ab.-_*?", min_size=1, max_size=8)


def matches(name: str, glob: str) -> bool:
    """The same by hand: each star is some letters, each question mark one."""
    if not glob:
        return not name
    if glob[0] == "*":
        return any(matches(name[skipped:], glob[1:]) for skipped in range(len(name) + 1))
    return bool(name) and glob[0] in ("?", name[0]) and matches(name[1:], glob[1:])


@given(NAMES, GLOBS)
def test_globs(name: str, glob: str) -> None:
    assert is_scope(f"migrate:{glob}")
    assert allows([f"migrate:{glob}"], "migrate", name) == matches(name, glob)
    assert not allows([f"migrate:{glob}"], "register", name)
    assert not allows([f"migrate:{glob}"], "read")
    assert not allows([f"migrate:{glob}"], "admin")


@given(st.lists(st.text(max_size=12)), st.sampled_from(["read", "admin", "migrate", "register"]), st.text(max_size=8))
def test_what_is_no_scope_allows_nothing(texts: list[str], need: Any, module: str) -> None:
    good = [text for text in texts if is_scope(text)]
    try:
        assert list(check_scopes(texts)) == list(dict.fromkeys(good)) == list(dict.fromkeys(texts))
    except ValueError:
        assert not texts or len(good) < len(texts)
    assert allows([*good, "admin"], need, module)
    assert not allows([], need, module)


def test_every_handler_has_to_say_what_it_needs() -> None:
    def app(opt: dict[str, Any], path: str = "/modules/{module:str}") -> Litestar:
        @get(path, opt=opt, sync_to_thread=False)
        def handler(module: str) -> None: ...

        return Litestar([handler], openapi_config=None, logging_config=None)

    access = Access(Settings())
    for word in (None, "read", "admin", "migrate", "register", "migrate_some", "health", "metrics"):
        access.check(app({"needs": word}))
    for opt, path in (
        ({}, "/modules/{module:str}"),
        ({"need": "read"}, "/modules/{module:str}"),
        ({"needs": "write"}, "/modules/{module:str}"),
        ({"needs": "migrate"}, "/modules"),
    ):
        with pytest.raises(TypeError, match=re.escape(f"at {path}")):
            access.check(app(opt, path))


def test_health_and_metrics_can_be_closed() -> None:
    @get("/x", opt={"needs": "health"}, sync_to_thread=False)
    def health() -> None: ...

    @get("/y", opt={"needs": "metrics"}, sync_to_thread=False)
    def metrics() -> None: ...

    assert [Access(Settings()).need_of(one) for one in (health, metrics)] == [None, None]
    closed = Access(Settings(auth_for_health=True, auth_for_metrics=True))
    assert [closed.need_of(one) for one in (health, metrics)] == ["read", "read"]


def test_closed_health(start: Callable[..., Any], make_token: Any, eventually: Callable[..., Any]) -> None:
    service = start(auth="tokens", auth_for_health=True, wait=False)
    headers = bearer(make_token("read"))
    eventually(lambda: service.get("/health/ready", headers=headers).status_code == 200)
    assert service.get("/health/ready").status_code == 401
    assert service.get("/health/live").status_code == 200


def test_while_the_database_is_away(
    start: Callable[..., Any], proxied: str, proxy: Any, make_token: Any, eventually: Callable[..., Any]
) -> None:
    service = start(auth="tokens", database_url=proxied, database_timeout_s=1.0)
    headers = bearer(make_token("read"))
    assert service.get("/modules", headers=headers).status_code == 200
    proxy.cut()
    assert code_of(service.get("/modules", headers=bearer(make_token("read")))) == (503, "database_unavailable")
    assert service.get("/health/live").status_code == 200
    proxy.restore()
    eventually(lambda: service.get("/modules", headers=headers).status_code == 200)


def test_headers_of_every_answer(service: Any) -> None:
    for path in ("/health/live", "/modules", "/nothing", "/docs", "/docs/openapi.json", "/static/swagger-ui/x"):
        headers = service.get(path).headers
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert (headers.get("cache-control") == "no-store") == (not path.startswith("/static")), path
    # The one script of the page may run, no other.
    page = service.get("/docs")
    (script,) = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in page.headers["content-security-policy"]
    assert "script-src 'self' 'sha" in page.headers["content-security-policy"]


def test_a_body_that_is_too_large_in_chunks(start: Callable[..., Any], repo: Any) -> None:
    repo.write("orders", _001_a="SELECT 1")
    service = start(max_body_bytes=1024)

    def chunks() -> Any:
        yield b'{"x": "'
        for _ in range(100):
            yield b"x" * 100
        yield b'"}'

    for path in ("/migrate", "/modules/orders/migrate", "/tokens"):
        answer = service.post(path, content=chunks(), headers={"Content-Type": "application/json"})
        assert "content-length" not in answer.request.headers
        assert code_of(answer) == (413, "body_too_large"), path


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"PGDBM_AUTH": "basic"}, "PGDBM_AUTH"),
        ({"PGDBM_AUTH": "tokens", "PGDBM_ALLOW_UNAUTHENTICATED": "true"}, "PGDBM_ALLOW_UNAUTHENTICATED"),
        ({"PGDBM_HOST": "0.0.0.0"}, "PGDBM_AUTH=tokens"),
        ({"PGDBM_JWT_ISSUER": "https://issuer.example"}, "PGDBM_JWT_ISSUER"),
        ({"PGDBM_AUTH": "tokens", "PGDBM_JWKS_URL": "https://issuer.example"}, "PGDBM_JWKS_URL"),
        ({"PGDBM_AUTH": "jwt"}, "PGDBM_JWT_ISSUER"),
        ({"PGDBM_AUTH": "jwt", "PGDBM_JWT_ISSUER": "https://issuer.example"}, "PGDBM_JWT_AUDIENCE"),
        ({"PGDBM_AUTH_FAILURES_PER_MINUTE": "0"}, "PGDBM_AUTH_FAILURES_PER_MINUTE"),
    ],
)
def test_settings_that_do_not_go_together(variables: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named) as caught:
        read_settings({"DATABASE_URL": URL} | variables)
    assert "\n" not in str(caught.value)


def test_with_auth_it_may_listen_elsewhere(
    fork: Callable[..., Any], database: str, make_token: Any, eventually: Callable[..., Any]
) -> None:
    token = make_token("read")
    process = fork(DATABASE_URL=database, PGDBM_HOST="0.0.0.0", PGDBM_AUTH="tokens")
    url = process.url()
    assert http_get(f"{url}/modules", headers={"Host": "pgdbm.example"}).status_code == 401
    answer = http_get(f"{url}/modules", headers={"Host": "pgdbm.example"} | bearer(token))
    assert answer.status_code == 200
