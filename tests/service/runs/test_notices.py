"""Messages of the server: few, short, and no burden for other requests."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

DEADLINE_S = 60


def test_a_notice_of_many_megabytes(start: Callable[..., Any], repo: Any, sql: Callable[..., Any]) -> None:
    """asyncpg takes minutes for 80 MB, and blocks the event loop for that time."""
    repo.write("m", _001_a="DO $$ BEGIN RAISE NOTICE '%', repeat('x', 80000000); END $$")
    service = start()
    run = service.post("/modules/m/migrate", headers={"Prefer": "respond-async"}).json()["id"]
    answered = 0
    deadline = time.monotonic() + DEADLINE_S
    while service.get(f"/runs/{run}").json()["status"] in ("queued", "running"):
        # The client of the test has a time limit of its own.
        assert service.get("/health/live").status_code == 200
        answered += 1
        assert time.monotonic() < deadline, answered
    assert service.get(f"/runs/{run}").json()["status"] == "succeeded"
    (length,) = sql("SELECT max(length(data::text)) FROM pgdbm_service.run_events")[0]
    assert length < 20_000
