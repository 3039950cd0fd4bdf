"""Tickets open streams of events, for clients that cannot send a token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgdbm_service.client import Client

from ..conftest import bearer

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = "CREATE TABLE {{tables.t}} (id integer PRIMARY KEY)"


def test_a_ticket_opens_streams_and_nothing_else(
    start: Callable[..., Any], repo: Any, make_token: Callable[..., str], sql: Any
) -> None:
    repo.write("m", _001_a=TABLE)
    service = start(auth="tokens")
    token = make_token("read", "migrate:*", name="page")
    run = service.post("/modules/m/migrate", headers=bearer(token)).json()["run_id"]
    with Client(service.url, token) as client:
        made = client.create_ticket()
    events = service.get(f"/runs/{run}/events?ticket={made.ticket}")
    assert events.status_code == 200
    assert "event: run_ended" in events.text
    # Opened again, as by a browser that reconnects.
    with service.client.stream("GET", f"{service.url}/events?ticket={made.ticket}") as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
    for method, path in (("GET", "/modules"), ("POST", "/events/ticket"), ("GET", f"/runs/{run}")):
        assert service.client.request(method, f"{service.url}{path}?ticket={made.ticket}").status_code in (400, 401)
    assert service.get(f"/runs/{run}/events").status_code == 401
    unknown = service.get(f"/runs/{run}/events?ticket=x")
    assert (unknown.status_code, "POST /events/ticket" in unknown.json()["detail"]) == (401, True)
    assert sql("SELECT FROM pgdbm_service.stream_tickets WHERE encode(digest, 'escape') = $1", made.ticket) == []
    sql("UPDATE pgdbm_service.stream_tickets SET expires_at = now() - interval '1 second'")
    assert service.get(f"/runs/{run}/events?ticket={made.ticket}").status_code == 401


def test_a_ticket_has_the_scopes_of_its_token(start: Callable[..., Any], make_token: Callable[..., str]) -> None:
    service = start(auth="tokens")
    deployer = make_token("migrate:*", name="deployer")
    assert service.post("/events/ticket", headers=bearer(deployer)).status_code in (200, 403)
    registrar = make_token("register:*", name="registrar")
    ticket = service.post("/events/ticket", headers=bearer(registrar))
    assert ticket.status_code == 403
    assert service.post("/events/ticket").status_code == 401
