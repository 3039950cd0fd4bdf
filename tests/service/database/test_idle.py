"""An idle service sends few statements: they cost where a database is billed by its work."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from ..approvals.test_when_runs_start import closed_windows, freeze, migrate, status_is

if TYPE_CHECKING:
    from collections.abc import Callable

# For the service's own connections: transactions are statements, since it begins none while it is idle.
_COUNT = """
SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()
"""


@pytest.mark.slow
def test_statements_of_an_idle_service(
    start: Callable[..., Any], repo: Any, sql: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    """Although runs are held: by windows that are closed, while there is a freeze."""
    schemas = ", ".join(f'"s{number}"' for number in range(100))
    held = closed_windows() + f"\nschemas = [{schemas}]"
    repo.write("orders", held, _001_a="CREATE TABLE {{tables.t}} (id integer)")
    service = start()
    freeze(service, modules="x*")
    eventually(status_is(service, migrate(service), "held"))
    # Backends report their statistics within ten seconds of becoming idle.
    time.sleep(12)
    before = sql(_COUNT)[0][0]
    # Some of them are sent once a minute.
    time.sleep(60)
    # The server's own transactions are counted, too.
    assert (sql(_COUNT)[0][0] - before) / 60 <= 1.5
    # It is still notified of registrations.
    other = start()
    body = {"migrations": [{"filename": "001_a.sql", "content": "SELECT 1"}]}
    assert other.client.put("/modules/m", json=body).status_code == 201
    eventually(lambda: "m" in [item["name"] for item in service.get("/modules").json()["items"]])


# The last statements of the service's own connections.
_LAST = """
SELECT max(query_start) FROM pg_stat_activity
WHERE application_name = 'pgdbm_service' AND datname = current_database()
"""
_END_LISTENING = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = 'pgdbm_service' AND datname = current_database()
"""


@pytest.mark.slow
def test_a_service_that_may_pause_sends_nothing_while_it_is_idle(
    start: Callable[..., Any], repo: Any, sql: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    repo.write("orders", _001_a="CREATE TABLE {{tables.t}} (id integer)")
    often = {"takeover_s": 1, "reconcile_s": 1, "metrics_sample_s": 0.1}
    paused = start(pause_after_idle_s=0.5, **often)
    assert paused.client.post("/modules/orders/migrate").json()["status"] == "success"

    def is_quiet_for(seconds: float) -> bool:
        before = sql(_LAST)[0][0]
        time.sleep(seconds)
        return bool(sql(_LAST)[0][0] == before)

    eventually(lambda: is_quiet_for(2))
    # Longer than any period of the service, the check of the listening connection included.
    assert is_quiet_for(15)
    # Probes do not resume the database.
    ready = paused.client.get("/health/ready")
    assert ready.status_code == 200
    assert ready.json()["checks"][0]["detail"] == "Not checked: the replica is idle."
    assert "pgdbm_database_up 1.0" in paused.client.get("/metrics").text
    assert is_quiet_for(1)
    # A database that is suspended closes its connections. Then nothing is notified, and nothing connects again.
    sql(_END_LISTENING)
    time.sleep(3)
    assert (
        sql(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgdbm_service' "
            "AND datname = current_database()"
        )[0][0]
        == 0
    )
    other = start(**often)
    body = {"migrations": [{"filename": "001_a.sql", "content": "CREATE TABLE {{tables.t}} (id integer)"}]}
    assert other.client.put("/modules/m", json=body).status_code == 201
    # The first answer already has what was registered in the meantime.
    assert "m" in [item["name"] for item in paused.get("/modules").json()["items"]]
    assert paused.client.post("/modules/m/migrate").json()["status"] == "success"
    assert paused.client.get("/health/ready").json()["checks"][0].get("detail") is None


def test_a_paused_replica_takes_runs_of_others(
    start: Callable[..., Any], sql: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    paused = start(pause_after_idle_s=0, takeover_s=1)
    eventually(lambda: paused.client.get("/health/ready").json()["checks"][0].get("detail"))
    other = start()
    body = {"migrations": [{"filename": "001_a.sql", "content": "SELECT pg_sleep(3)"}]}
    assert other.client.put("/modules/m", json=body).status_code == 201
    answer = other.client.post("/modules/m/migrate", headers={"Prefer": "respond-async"})
    assert answer.status_code == 202
    # It does not pause again before the run has ended: its replica could die.
    eventually(lambda: other.client.get(answer.headers["location"]).json()["status"] == "running")
    assert paused.client.get("/health/ready").json()["checks"][0].get("detail") is None
    eventually(lambda: other.client.get(answer.headers["location"]).json()["status"] == "succeeded")
    eventually(lambda: paused.client.get("/health/ready").json()["checks"][0].get("detail"))
