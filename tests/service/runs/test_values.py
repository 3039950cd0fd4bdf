"""Values from SQL in error texts: who sees them, and their maximum length."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

SECRET = "ann@example.com"
UNIQUE = f"CREATE TABLE {{{{tables.t}}}} (email text UNIQUE); INSERT INTO {{{{tables.t}}}} VALUES ('{SECRET}')"
DUPLICATE = f"INSERT INTO {{{{tables.t}}}} VALUES ('{SECRET}')"
EXECUTED = "DO $$ BEGIN EXECUTE 'ALTER ROLE missing_role PASSWORD ''STMTSECRET2'''; END $$"


def test_details_are_for_those_who_may_migrate(
    start: Callable[..., Any],
    make_token: Callable[..., str],
    repo: Any,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.INFO)
    repo.write("m", _001_t=UNIQUE, _002_again=DUPLICATE)
    repo.write("n", _001_t=EXECUTED)
    service = start(auth="tokens", log_level="info")
    migrating = {"Authorization": f"Bearer {make_token('migrate:*', 'read', name='migrating')}"}
    reading = {"Authorization": f"Bearer {make_token('read', name='reading')}"}
    runs = []
    for module, value, field in (("m", SECRET, "database_detail"), ("n", "STMTSECRET2", "database_context")):
        problem = service.post(f"/modules/{module}/migrate", headers=migrating).json()
        assert value in problem[field]
        assert value not in problem["detail"]
        runs.append((problem["run_id"], value))
    for run, value in runs:
        for address in (f"/runs/{run}", f"/runs/{run}/schemas", f"/runs/{run}/events"):
            assert value in service.get(address, headers=migrating).text, address
            assert value not in service.get(address, headers=reading).text, address
    logged = caplog.text + "".join(capfd.readouterr())
    assert "migrate failed" in logged
    assert SECRET not in logged
    assert "STMTSECRET2" not in logged


def test_an_error_of_megabytes_is_cut(service: Any, repo: Any, sql: Callable[..., Any]) -> None:
    repo.write(
        "m", _001_t="DO $$ BEGIN RAISE EXCEPTION '%', repeat('x', 5000000) USING DETAIL = repeat('y', 5000000); END $$"
    )
    service.sync()
    answer = service.post("/modules/m/migrate")
    assert answer.status_code == 422
    assert len(answer.content) < 20_000
    assert "more characters)" in answer.json()["detail"]
    assert "more characters)" in answer.json()["database_detail"]
    (row,) = sql("SELECT length(problem::text) AS length FROM pgdbm_service.runs")
    assert row["length"] < 20_000
    (row,) = sql("SELECT max(length(message)) AS length FROM m.pgdbm_journal")
    assert row["length"] < 5_000
