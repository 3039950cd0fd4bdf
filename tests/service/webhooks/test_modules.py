"""Webhooks about modules: files that are pending for long, files that were changed after they were applied, drift."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from .receiver import receiving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .receiver import Receiver

TABLE = "CREATE TABLE {{tables.t}} (id int)"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture
def watching(start: Callable[..., Any], receiver: Receiver) -> Callable[..., Any]:
    """``watching(events, **settings)``: a service that takes a sample every tenth of a second."""

    def run(events: list[str], **settings: Any) -> Any:
        service = start(webhook_private_addresses=True, metrics_sample_s=0.1, **settings)
        for format_ in ("standard", "slack"):
            body = {"url": receiver.url, "events": events, "format": format_}
            assert service.client.post("/webhooks", json=body).status_code == 201
        return service

    return run


def bodies(receiver: Receiver) -> list[dict[str, Any]]:
    return [one.body for one in receiver.accepted if "type" in one.body]


def texts(receiver: Receiver) -> list[str]:
    return [one.body["text"] for one in receiver.accepted if "text" in one.body]


def sampled(service: Any, times: int) -> None:
    """Return after ``times`` further samples."""
    for _ in range(times):
        before = service.client.get("/metrics").text
        while service.client.get("/metrics").text == before:
            time.sleep(0.02)


def test_migrations_that_are_pending_for_long_are_reported_once(
    watching: Callable[..., Any], repo: Any, sql: Any, receiver: Receiver, eventually: Callable[..., Any]
) -> None:
    repo.write("m", 'schemas = ["a", "b"]', _001_a=TABLE, _002_b="SELECT 1")
    service = watching(["module.pending"], webhook_pending_after_s=600)
    eventually(lambda: sql("SELECT FROM pgdbm_service.module_conditions"))
    assert receiver.accepted == []
    sql("UPDATE pgdbm_service.module_conditions SET since = since - interval '11 minutes'")
    eventually(lambda: len(receiver.accepted) == 2)
    (body,) = bodies(receiver)
    assert body["type"] == "module.pending"
    assert (body["data"]["module"], body["data"]["pending"], body["data"]["schema_count"]) == ("m", 4, 2)
    assert texts(receiver)[0].startswith(
        f"The module m has had 4 pending migrations since {body['data']['since'][:16]}"
    )
    assert service.client.post("/modules/m/migrate").json()["status"] == "success"
    eventually(lambda: not sql("SELECT FROM pgdbm_service.module_conditions"))
    assert len(receiver.accepted) == 2
    # Another time is another time.
    repo.write("m", 'schemas = ["a", "b"]', _003_c="SELECT 1")
    eventually(lambda: sql("UPDATE pgdbm_service.module_conditions SET since = '2020-01-01' RETURNING module"))
    eventually(lambda: len(receiver.accepted) == 4)


def test_files_that_change_after_they_were_applied_are_reported(
    watching: Callable[..., Any], repo: Any, sql: Any, receiver: Receiver, eventually: Callable[..., Any]
) -> None:
    repo.write("m", _001_a=TABLE, _002_b="SELECT 1")
    service = watching(["module.changed"])
    service.client.post("/modules/m/migrate")
    repo.write("m", _001_a=f"{TABLE};", _002_b="SELECT 1")
    eventually(lambda: len(receiver.accepted) == 2)
    assert bodies(receiver)[0]["data"]["filenames"] == ["001_a.sql"]
    assert texts(receiver) == ["The module m has files that were changed after they were applied: 001_a.sql."]
    # One more is news; that one of them is as before is not.
    repo.write("m", _001_a=f"{TABLE};", _002_b="SELECT 2")
    eventually(lambda: len(receiver.accepted) == 4)
    assert bodies(receiver)[1]["data"]["filenames"] == ["001_a.sql", "002_b.sql"]
    repo.write("m", _001_a=TABLE, _002_b="SELECT 1")
    eventually(lambda: not sql("SELECT FROM pgdbm_service.module_conditions"))
    assert len(receiver.accepted) == 4


def test_drift_is_reported_however_it_is_found(
    watching: Callable[..., Any], repo: Any, database: str, sql: Any, receiver: Receiver, eventually: Callable[..., Any]
) -> None:
    """A request, and the service itself, once for each drift."""
    repo.write("m", 'schemas = ["a"]', _001_a=TABLE)
    service = watching(["module.drifted"], drift_check_s=1)
    service.client.post("/modules/m/migrate")
    assert service.client.get("/modules/m/drift").json()["clean"]
    with psycopg.connect(database) as someone:
        someone.execute("CREATE INDEX by_hand ON a.t (id)")
    assert not service.client.get("/modules/m/drift").json()["clean"]
    eventually(lambda: len(receiver.accepted) == 2)
    (body,) = bodies(receiver)
    assert (body["data"]["schema"], body["data"]["change_count"]) == ("a", 1)
    assert body["data"]["changes"] == [{"kind": "added", "object_kind": "index", "name": "by_hand"}]
    assert texts(receiver) == ["The module m has changes that no migration made in the schema a: index by_hand added."]
    assert not service.client.get("/modules/m/drift").json()["clean"]
    with psycopg.connect(database) as someone:
        someone.execute("ALTER TABLE a.t ADD COLUMN by_hand int")
    # No request asks for this one.
    eventually(lambda: len(receiver.accepted) == 4)
    assert bodies(receiver)[1]["data"]["change_count"] == 2
    with psycopg.connect(database) as someone:
        someone.execute("DROP INDEX a.by_hand")
        someone.execute("ALTER TABLE a.t DROP COLUMN by_hand")
    eventually(lambda: not sql("SELECT FROM pgdbm_service.module_conditions"))
    assert len(receiver.accepted) == 4


def test_a_schema_that_cannot_be_read_hides_no_drift_of_others(
    watching: Callable[..., Any], repo: Any, sql: Any, receiver: Receiver, eventually: Callable[..., Any]
) -> None:
    repo.write("a", _001_a=TABLE)
    repo.write("b", _001_a=TABLE)
    service = watching(["module.drifted"], drift_check_s=1)
    assert service.client.post("/migrate").status_code == 200
    sql("ALTER TABLE a.pgdbm_snapshots DROP COLUMN listing")
    assert service.client.get("/modules/a/drift").status_code == 500
    sql("ALTER TABLE b.t ADD COLUMN by_hand int")
    eventually(lambda: len(receiver.accepted) == 2)
    assert bodies(receiver)[0]["data"]["module"] == "b"


def test_several_replicas_report_a_module_once(
    watching: Callable[..., Any], start: Callable[..., Any], repo: Any, sql: Any, receiver: Receiver, eventually: Any
) -> None:
    repo.write("m", _001_a=TABLE)
    services = [watching(["module.pending"], webhook_pending_after_s=0)]
    services += [start(webhook_private_addresses=True, metrics_sample_s=0.1, webhook_pending_after_s=0) for _ in "12"]
    eventually(lambda: len(receiver.accepted) == 2)
    for one in services:
        sampled(one, 5)
    assert len(receiver.accepted) == 2
