"""Webhooks: created over HTTP, sent events of runs, signed, retried, disabled, sent again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from .receiver import is_signed, receiving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .receiver import Receiver

TABLE = "CREATE TABLE {{tables.t}} (id int)"
ASYNC = {"Prefer": "respond-async"}
LOCAL = pytest.mark.settings(webhook_private_addresses=True)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


def create(service: Any, url: str, **fields: Any) -> dict[str, Any]:
    answer = service.post("/webhooks", headers=service.headers, json={"url": url} | fields)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def deliveries(service: Any, webhook: dict[str, Any], query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = service.get(f"/webhooks/{webhook['id']}/deliveries{query}").json()["items"]
    return found


@LOCAL
def test_a_run_is_reported_in_order_and_signed(
    service: Any, repo: Any, receiver: Receiver, eventually: Callable[..., Any]
) -> None:
    webhook = create(service, receiver.url)
    repo.write("m", _001_a=TABLE)
    service.sync()
    run = service.post("/modules/m/migrate").json()["run_id"]
    eventually(lambda: receiver.events == ["run.queued", "run.succeeded"])
    for headers, body in receiver.raw:
        assert is_signed(webhook["secret"], headers, body)
        assert not is_signed(webhook["secret"], headers, body + b" ")
    last = receiver.received[-1]
    assert last.body["data"] == {"module": "m", "run_id": run, "status": "succeeded"}
    assert last.headers["host"] == f"127.0.0.1:{receiver.port}"
    listed = eventually(lambda: deliveries(service, webhook, "?status=delivered")[1:] and deliveries(service, webhook))
    assert [(one["event"], one["status"], one["http_status"], one["attempts"]) for one in listed] == [
        ("run.succeeded", "delivered", 204, 1),
        ("run.queued", "delivered", 204, 1),
    ]
    assert [one["id"] for one in listed] == [one.id for one in reversed(receiver.received)]
    shown = service.get(f"/webhooks/{webhook['id']}").json()
    assert "secret" not in shown
    assert shown == {name: value for name, value in webhook.items() if name != "secret"}
    assert service.get("/webhooks").json()["items"] == [shown]


@LOCAL
def test_a_failed_run_is_reported_with_its_place_and_without_values(
    service: Any, repo: Any, receiver: Receiver, eventually: Callable[..., Any]
) -> None:
    create(service, receiver.url, events=["run.failed"], modules="ord*")
    for module in ("orders", "billing"):
        repo.write(module, _001_a="SELECT 1;\nSELECT 'secret-value'::int")
    service.sync()
    for module in ("billing", "orders"):
        assert service.post(f"/modules/{module}/migrate").status_code == 422
    eventually(lambda: receiver.events == ["run.failed"])
    data = receiver.received[0].body["data"]
    assert (data["module"], data["status"]) == ("orders", "failed")
    assert data["problem"]["filename"] == "001_a.sql"
    assert (data["problem"]["line"], data["problem"]["sqlstate"]) == (2, "22P02")
    assert "secret-value" not in receiver.raw[0][1].decode()


@LOCAL
def test_what_is_not_accepted_is_sent_again_in_order(
    service: Any, repo: Any, receiver: Receiver, eventually: Callable[..., Any]
) -> None:
    receiver.statuses = [500, 302]
    receiver.location = f"{receiver.url}&redirected"
    webhook = create(service, receiver.url)
    repo.write("m", _001_a=TABLE)
    service.sync()
    service.post("/modules/m/migrate")
    pending = eventually(lambda: [one for one in deliveries(service, webhook) if one["reason"]])
    assert (pending[0]["event"], pending[0]["reason"]) == ("run.queued", "the receiver answered 500")
    assert service.get(f"/webhooks/{webhook['id']}").json()["failing_since"]
    eventually(lambda: receiver.events == ["run.queued", "run.succeeded"])
    # Later events do not overtake a failed one, and a redirect is a failure.
    assert [(one.body["type"], one.answered) for one in receiver.received] == [
        ("run.queued", 500),
        ("run.queued", 302),
        ("run.queued", 204),
        ("run.succeeded", 204),
    ]
    assert len({one.id for one in receiver.received}) == 2
    eventually(lambda: service.get(f"/webhooks/{webhook['id']}").json()["failing_since"] is None)


@LOCAL
def test_a_blocked_run_is_reported_once_it_has_waited(
    service: Any, repo: Any, database: str, receiver: Receiver, eventually: Callable[..., Any]
) -> None:
    impatient = create(service, receiver.url, events=["run.blocked"], blocked_after_s=0)
    patient = create(service, receiver.url, events=["run.blocked"], blocked_after_s=3600)
    repo.write("m", _001_a=TABLE)
    service.sync()
    service.post("/modules/m/migrate")
    repo.write("m", _002_b="ALTER TABLE {{tables.t}} ADD COLUMN n integer")
    service.sync()
    with psycopg.connect(database, application_name="billing-worker") as holder:
        holder.execute("LOCK TABLE m.t IN ACCESS SHARE MODE")
        run = service.post("/modules/m/migrate", headers=ASYNC).json()["id"]
        eventually(lambda: receiver.events)
        data = receiver.received[0].body["data"]
        assert (data["run_id"], data["schema"]) == (run, "m")
        assert data["waiting_for"][0]["application_name"] == "billing-worker"
        assert "query" not in data["waiting_for"][0]
    eventually(lambda: service.get(f"/runs/{run}").json()["status"] == "succeeded")
    assert {one["status"] for one in deliveries(service, patient)} == {"dropped"}
    assert "delivered" in {one["status"] for one in deliveries(service, impatient)}


@pytest.mark.parametrize("number", [410, 500])
def test_a_webhook_that_fails_for_long_is_disabled(
    number: int, start: Callable[..., Any], repo: Any, receiver: Receiver, eventually: Callable[..., Any]
) -> None:
    """Disabled after failures for a second; a 410 means that the receiver is gone, and disables it immediately."""
    seconds = 1 if number == 500 else 86400
    service = start(webhook_private_addresses=True, webhook_disable_after_s=seconds)
    receiver.statuses = [number] * (1 if number == 410 else 3)
    webhook = create(service, receiver.url, events=["run.succeeded"])
    repo.write("m", _001_a=TABLE)
    service.post("/repo/sync")
    service.post("/modules/m/migrate")
    path = f"/webhooks/{webhook['id']}"
    disabled = eventually(lambda: (one := service.get(path).json())["is_enabled"] is False and one)
    assert disabled["disabled_reason"] == f"the receiver answered {number}"
    assert [one["status"] for one in deliveries(service, webhook)] == ["pending"]
    receiver.statuses = []
    enabled = service.client.patch(path, json={"is_enabled": True}).json()
    assert (enabled["is_enabled"], enabled["disabled_reason"], enabled["failing_since"]) == (True, None, None)
    eventually(lambda: receiver.events == ["run.succeeded"])


@LOCAL
def test_a_run_that_is_held_is_reported(
    service: Any, repo: Any, receiver: Receiver, eventually: Callable[..., Any]
) -> None:
    for format_ in ("standard", "slack"):
        create(service, receiver.url, events=["run.waiting"], format=format_)
    repo.write("m", _001_a=TABLE)
    service.sync()
    assert service.client.put("/freeze", json={"modules": "m", "reason": "end of the quarter"}).status_code == 200
    run = service.post("/modules/m/migrate", headers=ASYNC).json()["id"]
    eventually(lambda: len(receiver.received) == 2)
    assert service.client.delete("/freeze").status_code == 200
    (event,) = [one.body for one in receiver.received if "type" in one.body]
    assert (event["type"], event["data"]["run_id"], event["data"]["reason"]) == ("run.waiting", run, "freeze")
    (text,) = [one.body["text"] for one in receiver.received if "text" in one.body]
    assert text.startswith("The migration of m waits: ")
    assert "end of the quarter" in text


@LOCAL
def test_a_delivery_is_sent_again_and_a_secret_replaced(
    service: Any, repo: Any, receiver: Receiver, eventually: Callable[..., Any]
) -> None:
    webhook = create(service, receiver.url, events=["run.succeeded"])
    repo.write("m", _001_a=TABLE)
    service.sync()
    service.post("/modules/m/migrate")
    (first,) = eventually(lambda: deliveries(service, webhook, "?status=delivered"))
    path = f"/webhooks/{webhook['id']}"
    renewed = service.client.patch(path, json={"new_secret": True}).json()
    assert renewed["secret"] != webhook["secret"]
    again = service.post(f"{path}/deliveries/{first['id']}/redeliver").json()
    assert (again["id"], again["status"]) == (first["id"], "pending")
    eventually(lambda: len(receiver.raw) == 2)
    assert receiver.received[0].id == receiver.received[1].id
    headers, body = receiver.raw[1]
    # Signed with both secrets, so that the receiver can be changed at any time.
    assert is_signed(webhook["secret"], headers, body)
    assert is_signed(renewed["secret"], headers, body)
    assert service.client.delete(path).json()["id"] == webhook["id"]
    for method, end in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/deliveries")):
        answer = service.client.request(method, path + end, json={} if method == "PATCH" else None)
        assert (answer.status_code, answer.json()["code"]) == (404, "webhook_unknown")


@LOCAL
def test_chats_get_a_sentence(service: Any, repo: Any, receiver: Receiver, eventually: Callable[..., Any]) -> None:
    for format_ in ("slack", "teams"):
        create(service, receiver.url, events=["run.failed"], format=format_)
    repo.write("m", _001_a="SELECT 1 / 0")
    service.sync()
    service.post("/modules/m/migrate")
    eventually(lambda: len(receiver.received) == 2)
    bodies = [one.body for one in receiver.received]
    texts = {one.get("text") or one["attachments"][0]["content"]["body"][0]["text"] for one in bodies}
    assert texts == {"The migration of m failed: The database rejected a statement (001_a.sql:1:1)."}


def test_only_public_addresses_over_https_are_allowed(service: Any, sql: Any, repo: Any, eventually: Any) -> None:
    for url in ("http://example.com/", "ftp://example.com/", "https://", "https://a@example.com/", "https://a:b/", "x"):
        answer = service.post("/webhooks", json={"url": url})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request"), url
    # A name that resolves to this machine, as any name may the next time that it is looked up.
    webhook = create(service, "https://localhost/", events=["run.succeeded"])
    repo.write("m", _001_a=TABLE)
    service.sync()
    service.post("/modules/m/migrate")
    (failed,) = eventually(lambda: [one for one in deliveries(service, webhook) if one["reason"]])
    assert "not a public address" in failed["reason"]
    assert failed["http_status"] is None


def test_the_limit_holds_for_webhooks_that_are_created_at_the_same_time(
    start: Callable[..., Any], database: str, eventually: Callable[..., Any]
) -> None:
    service = start(max_webhooks=2)
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'pgdbm_service.webhooks'::regclass"
    with psycopg.connect(database) as holder, psycopg.connect(database, autocommit=True) as seeing:
        # Nothing can be inserted until the end of this transaction, and everything can be counted.
        holder.execute("LOCK TABLE pgdbm_service.webhooks IN SHARE MODE")
        with ThreadPoolExecutor(4) as threads:
            urls = [f"https://hooks.example.com/{number}" for number in range(4)]
            sent = [threads.submit(service.post, "/webhooks", json={"url": url}) for url in urls]
            eventually(lambda: seeing.execute(waiting).fetchall() == [(4,)])
            holder.rollback()
            answers = [one.result() for one in sent]
    assert sorted(one.status_code for one in answers) == [201, 201, 400, 400]
    assert len(service.get("/webhooks").json()["items"]) == 2


@pytest.mark.settings(auth="tokens", auth_failures_per_minute=10000)
def test_webhooks_need_the_scope_admin(service: Any, make_token: Any) -> None:
    headers = {"Authorization": f"Bearer {make_token('read', 'migrate:*', 'register:*')}"}
    assert service.get("/webhooks", headers=headers).status_code == 403
    assert service.post("/webhooks", headers=headers, json={"url": "https://example.com"}).status_code == 403


def test_a_killed_service_sends_what_it_had_taken(
    fork: Callable[..., Any], database: str, repo: Any, sql: Any, eventually: Callable[..., Any]
) -> None:
    """The receiver is unavailable, slow, and available again, while services are killed: each event arrives, in the
    order of its run."""
    import httpx2

    repo.write("m", 'schemas = ["m_1"]', _001_a=TABLE)
    variables = {"DATABASE_URL": database, "PGDBM_WEBHOOK_PRIVATE_ADDRESSES": "true"}
    with receiving() as receiver:
        process = fork(**variables)
        with httpx2.Client(base_url=process.url(), timeout=30, verify=False) as client:
            eventually(lambda: client.get("/health/ready").status_code == 200)
            assert client.post("/webhooks", json={"url": receiver.url}).status_code == 201
            receiver.delay_s = 0.3
            for number in range(2, 5):
                assert client.post("/modules/m/migrate").status_code in (200, 422)
                repo.write("m", 'schemas = ["m_1"]', **{f"_00{number}_x": f"CREATE TABLE {{{{tables.t{number}}}}} ()"})
                client.post("/repo/sync")
        process.popen.kill()
        process.wait()
    runs = sql("SELECT count(DISTINCT run) AS n FROM pgdbm_service.webhook_deliveries")[0]["n"]
    # What the killed process had taken is due after a minute.
    sql("UPDATE pgdbm_service.webhook_deliveries SET next_attempt_at = now() WHERE status = 'pending'")
    with receiving(receiver.port) as back:
        process = fork(**variables)
        eventually(lambda: not sql("SELECT FROM pgdbm_service.webhook_deliveries WHERE status = 'pending'"))
        process.popen.kill()
        process.wait()
    order: dict[str, list[str]] = {}
    for one in (*receiver.accepted, *back.accepted):
        order.setdefault(one.body["data"]["run_id"], []).append(one.body["type"])
    assert len(order) == runs > 0
    for events in order.values():
        assert list(dict.fromkeys(events)) == ["run.queued", "run.succeeded"]
