"""The operator's policy ends a session that blocks a run: with an event, an entry in the journal and in the audit."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from pgdbm_service.api.common import Blockers
from pgdbm_service.settings import ModulePolicy, SettingsError, read_settings

from ..running_service import eventually
from .conftest import TABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def idle_in_transaction(database: str, sql: Callable[..., Any], table: str) -> Iterator[tuple[int, str]]:
    """The process id, and the role, of a session that has read ``table`` in a transaction."""
    role = f"reader_{time.monotonic_ns()}"
    sql(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    schema = table.split(".", 1)[0]
    sql(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
    sql(f"GRANT SELECT ON {table} TO {role}")
    parts = urlsplit(database)
    dsn = urlunsplit(parts._replace(netloc=f"{role}:x@{parts.netloc.rpartition('@')[2]}"))
    over, pids = threading.Event(), []

    async def hold() -> None:
        connection = await asyncpg.connect(dsn, server_settings={"application_name": "reports"})
        await connection.execute(f"BEGIN; SELECT FROM {table}")
        pids.append(connection.get_server_pid())
        await asyncio.to_thread(over.wait)
        connection.terminate()

    thread = threading.Thread(target=lambda: asyncio.run(hold()))
    thread.start()
    try:
        eventually(lambda: pids)
        yield pids[0], role
    finally:
        over.set()
        thread.join()
        eventually(lambda: not sql("SELECT FROM pg_stat_activity WHERE usename = $1", role))
        sql(f"DROP OWNED BY {role}")
        sql(f"DROP ROLE {role}")


@pytest.mark.parametrize("schemas", [1, 8])
def test_a_session_is_ended(
    start: Callable[..., Any], repo: Any, database: str, sql: Callable[..., Any], schemas: int
) -> None:
    """This also works for a run in so many schemas that it has no listener."""
    names = ", ".join(f'"s{number}"' for number in range(schemas))
    repo.write("orders", f"schemas = [{names}]", _001_a=TABLE)
    policy = ModulePolicy(blockers=Blockers(idle_in_transaction_s=0.2))
    service = start(module_policies={"orders": policy, "*": ModulePolicy()})
    assert service.post("/modules/orders/migrate").json()["status"] == "success"
    repo.write("orders", _002_b="ALTER TABLE {{tables.t}} ADD COLUMN more text")
    service.sync()
    with idle_in_transaction(database, sql, "s0.t") as (pid, role):
        answer = service.post("/modules/orders/migrate", json={"lock_timeout_ms": 2000})
    assert answer.json().get("status") == "success", answer.text
    run = answer.json()["run_id"]
    with service.client.stream("GET", f"/runs/{run}/events") as stream:
        text = "".join(stream.iter_text())
    assert "event: blocker_ended" in text
    assert f'"pid":{pid}' in text
    (entry,) = [
        one
        for one in service.get("/modules/orders/journal?schema=s0").json()["items"]
        if one["event"] == "blocker_ended"
    ]
    assert (entry["filename"], str(pid) in entry["message"]) == ("002_b.sql", True)
    (audited,) = [one for one in service.get("/audit").json()["items"] if one["principal"] == "policy"]
    assert (audited["run_id"], audited["module"]) == (run, "orders")
    assert f"terminated the blocking process {pid} ({role} reports)" in audited["reason"]


def test_another_module_has_no_such_policy(
    start: Callable[..., Any], repo: Any, database: str, sql: Callable[..., Any]
) -> None:
    """And a module cannot give itself one."""
    repo.write("billing", _001_a=TABLE)
    policies = {"orders": ModulePolicy(blockers=Blockers(idle_in_transaction_s=0)), "*": ModulePolicy()}
    service = start(module_policies=policies, lock_wait_s=3)
    assert service.post("/modules/billing/migrate").json()["status"] == "success"
    repo.write("billing", _002_b="ALTER TABLE {{tables.t}} ADD COLUMN more text")
    service.sync()
    with idle_in_transaction(database, sql, "billing.t") as (pid, _):
        answer = service.post("/modules/billing/migrate", json={"lock_timeout_ms": 500})
        assert answer.json()["code"] == "lock_timeout", answer.text
        assert sql("SELECT FROM pg_stat_activity WHERE pid = $1", pid)
    body = {"migrations": [{"filename": "001_a.sql", "content": TABLE}], "blockers": {"idle_in_transaction_s": 0}}
    assert service.client.put("/modules/payouts", json=body).json()["code"] == "invalid_request"


def test_a_policy_that_makes_no_sense() -> None:
    text = '{"*": {"blockers": {"action": "cancel", "idle_in_transaction_s": 1}}}'
    with pytest.raises(SettingsError, match="use the action terminate"):
        read_settings({"PGDBM_MODULE_POLICIES": text})
