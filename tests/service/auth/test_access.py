"""Access over HTTP: tokens, scopes, open paths, and the limit on failures."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from litestar import Litestar, get

from pgdbm_service.auth.access import Access
from pgdbm_service.settings import Settings

from ..running_service import http_get

if TYPE_CHECKING:
    from collections.abc import Callable

URL = "postgresql://u:hunter2@127.0.0.1:5432/x"
# Calls of the shared service.
pytestmark = pytest.mark.settings(auth="tokens", auth_failures_per_minute=10000)
OPEN = {
    ("get", path)
    for path in ("/", "/health/live", "/health/ready", "/version", "/metrics", "/errors", "/errors/{code}")
}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def code_of(response: httpx2.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


def calls_of(service: Any) -> list[tuple[str, str]]:
    """Method and path of every call that is described, with something for each parameter."""
    paths = service.get("/docs/openapi.json").json()["paths"]
    return [(method, path) for path, methods in paths.items() for method in methods]


def filled(path: str) -> str:
    id_ = "7f1d2c3b-0000-4000-8000-000000000000"
    values = {"module": "orders", "run_id": id_, "webhook_id": id_, "delivery_id": id_, "pid": "2147483647"}
    return re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], "x"), path)


def test_only_open_paths_answer_without_a_token(service: Any, repo: Any, make_token: Any) -> None:
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
        # A stream of events has no end.
        with service.client.stream(method, filled(path), headers=bearer(token)) as allowed:
            assert allowed.status_code not in (401, 403)
    for path in ("/", "/docs", "/docs/openapi.json", "/static/swagger-ui/swagger-ui.css"):
        assert service.get(path).status_code in (200, 302), path


def test_a_token_for_another_module_is_forbidden(service: Any, repo: Any, make_token: Any) -> None:
    repo.write("orders", _001_a="SELECT 1")
    service.sync()
    headers = bearer(make_token("migrate:users", "register:users"))
    for method, path in calls_of(service):
        # Calls about a run require a scope for its module: see below.
        if (method, path) not in OPEN and not path.startswith("/runs/{run_id}/"):
            answer = service.client.request(method, filled(path), headers=headers)
            assert code_of(answer) == (403, "forbidden"), (method, path)
            assert "insufficient_scope" in answer.headers["www-authenticate"]


def test_a_run_needs_the_scope_of_its_module(service: Any, repo: Any, make_token: Any) -> None:
    repo.write("orders", _001_a="SELECT 1")
    service.sync()
    run = service.post("/modules/orders/migrate", headers=bearer(make_token("migrate:orders"))).json()["run_id"]
    users, reader = bearer(make_token("migrate:users")), bearer(make_token("read"))
    for call in ("cancel", "retry"):
        for headers in (users, reader):
            assert code_of(service.post(f"/runs/{run}/{call}", headers=headers)) == (403, "forbidden")
    assert code_of(service.get(f"/runs/{run}", headers=users)) == (403, "forbidden")
    assert service.get(f"/runs/{run}", headers=reader).status_code == 200


def test_each_scope_allows_what_it_names(service: Any, repo: Any, sql: Callable[..., Any], make_token: Any) -> None:
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
    # POST /migrate needs the scope for all modules.
    refused = service.post("/migrate", headers=migrator)
    assert (refused.status_code, refused.json()["scope"]) == (403, "migrate:users")
    assert service.post("/migrate", headers=reader).json()["scope"] == "migrate:…"
    assert sql("SELECT FROM pg_namespace WHERE nspname IN ('orders', 'users')") == []

    assert service.post("/modules/orders/migrate", headers=migrator).json()["status"] == "success"
    done = service.post("/migrate", headers=everything).json()
    assert done["status"] == "success"
    # A run of all modules needs the scope for all of them.
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
def test_a_malformed_token_is_unauthenticated(service: Any, make_token: Any, header: str) -> None:
    token = make_token("admin")
    assert service.get("/modules", headers=bearer(token)).status_code == 200
    assert service.get("/modules", headers={"Authorization": f"bearer  {token}"}).status_code == 200
    value = header.format(token=token, id=token[:19]).encode()
    answer = service.get("/modules", headers={b"Authorization": value})
    assert code_of(answer) == (401, "unauthenticated")
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    twice = service.client.get("/modules", headers=[("Authorization", f"Bearer {token}")] * 2)
    assert twice.status_code == 401


def test_too_many_failures_are_limited(start: Callable[..., Any], repo: Any, make_token: Any) -> None:
    service = start(auth="tokens", auth_failures_per_minute=3)
    seen, new = make_token("read"), make_token("read")
    assert service.get("/modules", headers=bearer(seen)).status_code == 200
    wrong = bearer("pgdbm_000000000000_" + "A" * 43)
    for _ in range(3):
        assert service.get("/modules", headers=wrong).status_code == 401
    refused = service.get("/modules", headers=wrong)
    assert code_of(refused) == (429, "too_many_attempts")
    assert 1 <= int(refused.headers["retry-after"]) == refused.json()["retry_after"] <= 20
    # Valid credentials, new or not, and open paths are served: other clients may share the address.
    assert service.get("/modules", headers=bearer(new)).status_code == 200
    almost = new[:-1] + ("A" if new[-1] != "A" else "B")
    assert service.get("/modules", headers=bearer(almost)).status_code == 429
    assert service.get("/modules", headers=bearer(seen)).status_code == 200
    assert service.get("/health/live").status_code == 200
    with httpx2.Client(base_url=service.url, transport=httpx2.HTTPTransport(local_address="127.0.0.2")) as elsewhere:
        assert elsewhere.get("/modules", headers=bearer(new)).status_code == 200
    # Requests without a token do not count against the others.
    for expected in (401, 401, 401, 429):
        assert service.get("/modules").status_code == expected


def test_every_handler_declares_its_scope() -> None:
    def app(opt: dict[str, Any], path: str = "/modules/{module:str}") -> Litestar:
        @get(path, opt=opt, sync_to_thread=False)
        def handler(module: str) -> None: ...

        return Litestar([handler], openapi_config=None, logging_config=None)

    access = Access(Settings())
    for word in (None, "signed_in", "read", "admin", "migrate", "register", "migrate_some", "health", "metrics"):
        access.check(app({"needs": word}))
    for opt, path in (
        ({}, "/modules/{module:str}"),
        ({"need": "read"}, "/modules/{module:str}"),
        ({"needs": "write"}, "/modules/{module:str}"),
        ({"needs": "migrate"}, "/modules"),
    ):
        with pytest.raises(TypeError, match=re.escape(f"at {path}")):
            access.check(app(opt, path))


def test_health_and_metrics_can_require_a_token() -> None:
    @get("/x", opt={"needs": "health"}, sync_to_thread=False)
    def health() -> None: ...

    @get("/y", opt={"needs": "metrics"}, sync_to_thread=False)
    def metrics() -> None: ...

    assert [Access(Settings()).need_of(one) for one in (health, metrics)] == [None, None]
    closed = Access(Settings(auth_for_health=True, auth_for_metrics=True))
    assert [closed.need_of(one) for one in (health, metrics)] == ["read", "read"]


def test_readiness_can_require_a_token(
    start: Callable[..., Any], make_token: Any, eventually: Callable[..., Any]
) -> None:
    service = start(auth="tokens", auth_for_health=True, wait=False)
    headers = bearer(make_token("read"))
    eventually(lambda: service.get("/health/ready", headers=headers).status_code == 200)
    assert service.get("/health/ready").status_code == 401
    assert service.get("/health/live").status_code == 200


def test_tokens_cannot_be_checked_during_an_outage(
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


def test_every_answer_has_the_secure_headers(service: Any) -> None:
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


def test_with_auth_the_service_may_listen_on_any_address(
    fork: Callable[..., Any], database: str, make_token: Any, eventually: Callable[..., Any]
) -> None:
    token = make_token("read")
    process = fork(DATABASE_URL=database, PGDBM_HOST="0.0.0.0", PGDBM_AUTH="tokens")
    url = process.url()
    assert http_get(f"{url}/modules", headers={"Host": "pgdbm.example"}).status_code == 401
    answer = http_get(f"{url}/modules", headers={"Host": "pgdbm.example"} | bearer(token))
    assert answer.status_code == 200
