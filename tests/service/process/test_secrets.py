"""Passwords, tokens and values are in no answer, log or metric.

The same is checked of the whole session when it ends: see ``watch`` in conftest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

PLANTED = {
    "a query parameter": "planted-in-a-query-string",
    "a value in a body": "planted-in-a-body-field",
    "a header": "planted-in-a-header",
    "a wrong password": "planted-as-a-wrong-password",
}


def test_a_planted_secret_is_found(watch: Any) -> None:
    other = type(watch)()
    other.plant("x", "a-secret-that-is-long")
    other.see("log", "fine")
    assert other.leaks() == []
    other.see("log", "some a-secret-that-is-long here")
    assert len(other.leaks()) == 1


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_secrets_are_in_no_answer_log_or_metric(
    start: Callable[..., Any],
    repo: Any,
    sql: Callable[..., Any],
    proxied: str,
    proxy: Any,
    make_token: Any,
    watch: Any,
    log_format: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for what, secret in PLANTED.items():
        watch.plant(what, secret)
    repo.write("orders", _001_a="CREATE TABLE {{tables.o}} (id integer)")
    repo.write("broken", _001_a="SELECT 1/0")
    token = make_token("admin")
    settings = {"log_level": "debug", "log_format": log_format, "auth_failures_per_minute": 1000}
    service = start(auth="tokens", database_url=proxied, database_timeout_s=1.0, **settings)
    query, body = f"x={PLANTED['a query parameter']}", {"x": PLANTED["a value in a body"]}
    tokens = [
        f"Bearer {token}",
        f"Basic {PLANTED['a header']}",
        f"Bearer {PLANTED['a header']}",
        f"Bearer {token}{token}",
    ]

    def everything() -> None:
        document = service.get("/docs/openapi.json").json()
        # The console differs only in the form of its lines.
        for path, methods in list(document["paths"].items())[:: 1 if log_format == "json" else 4]:
            # The stream of all runs does not end, and contains nothing that GET /runs does not.
            for method in methods if path != "/events" else ():
                address = path.replace("{module}", "orders").replace("{", "").replace("}", "")
                good, *refused = ({"Authorization": one, "Cookie": PLANTED["a header"]} for one in tokens)
                for options in ({}, {"json": body}, {"content": b"{" + body["x"].encode()}):
                    service.client.request(method, address, headers=good, **options)
                for headers in (good, *refused):
                    service.client.request(method, f"{address}?{query}", headers=headers, json=body)
        service.post("/modules/broken/migrate", headers={"Authorization": tokens[0]})
        service.get(f"/metrics?{query}")
        service.get("/metrics", headers={"Authorization": tokens[0]})

    everything()
    made = service.post("/tokens", headers={"Authorization": tokens[0]}, json={"name": "n", "scopes": ["read"]}).json()
    assert service.get("/modules", headers={"Authorization": f"Bearer {made['token']}"}).status_code == 200
    service.get("/tokens", headers={"Authorization": tokens[0]})
    service.client.delete(f"/tokens/{made['id']}", headers={"Authorization": tokens[0]})
    # An unexpected failure, with a traceback in the log.
    from pgdbm_service.database.pool import Database

    def fail(self: Any, work: Any) -> None:
        work.close()
        url = proxied.replace("@", f"{PLANTED['a wrong password']}@")
        raise RuntimeError(f"could not do it at {url}")

    with monkeypatch.context() as patched:
        patched.setattr(Database, "with_timeout", fail)
        assert service.get("/schemas", headers={"Authorization": tokens[0]}).status_code == 500
    # A parameter of a statement that fails.
    asked = f"/audit?principal={PLANTED['a query parameter']}"
    assert service.get(asked, headers={"Authorization": tokens[0]}).json()["items"] == []
    sql("ALTER TABLE pgdbm_service.audit RENAME COLUMN principal TO elsewhere")
    assert service.get(asked, headers={"Authorization": tokens[0]}).json()["code"] == "database_error"
    sql("ALTER TABLE pgdbm_service.audit RENAME COLUMN elsewhere TO principal")
    proxy.cut()
    service.get(asked, headers={"Authorization": tokens[0]})
    service.get("/health/ready")
    service.get("/modules", headers={"Authorization": tokens[0]})
    proxy.restore()

    assert "request" in watch.logged()
    assert watch.leaks() == []


def test_a_refused_password_is_not_shown(fork: Callable[..., Any], database: str, watch: Any, eventually: Any) -> None:
    from urllib.parse import urlsplit

    watch.plant("a wrong password", PLANTED["a wrong password"])
    parts = urlsplit(database)
    wrong = f"postgresql://{parts.username}:{PLANTED['a wrong password']}@{parts.hostname}:{parts.port}{parts.path}"
    process = fork(DATABASE_URL=wrong, PGDBM_LOG_LEVEL="debug")
    eventually(lambda: "no database yet" in process.err)
    assert PLANTED["a wrong password"] not in process.err
