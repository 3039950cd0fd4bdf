"""Behind PgBouncer in transaction mode, with and without a direct address beside it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg
import pytest

import pgdbm
from pgdbm_service.database.pooler import reason_of
from tests.support.waiting import eventually

from ...conftest import with_database
from ..event_streams import read
from ..service_database import Direct

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...conftest import Databases

ASYNC = {"Prefer": "respond-async"}


def failure(service: Any) -> str:
    """The reason that the service reports for having no database."""
    (check,) = [one for one in service.get("/health/ready").json()["checks"] if one["name"] == "database"]
    return str(check["detail"])


def test_runs_stream_and_cancel_behind_a_pooler(
    start: Callable[..., Any], repo: Any, pooled: str, database: str, sql: Callable[..., Any]
) -> None:
    repo.write(
        "m",
        _001_a="CREATE TABLE {{tables.t}} (id integer)",
        _002_b="-- pgdbm:no-transaction\nCREATE INDEX CONCURRENTLY t_id ON {{tables.t}} (id)",
        _003_c="ALTER TABLE {{tables.t}} ADD note text",
    )
    repo.write("waiting", _001_a="ALTER TABLE m.t ADD other text")
    service = start(database_url=pooled, direct_url=database)
    run = service.post("/modules/m/migrate", headers=ASYNC)
    with service.client.stream("GET", f"{run.headers['location']}/events") as response:
        kinds = [event.kind for event in read(response)]
    assert kinds.count("migration_ended") == 3
    assert kinds[-1] == "run_ended"
    assert service.get("/modules/m").json()["pending"] == 0
    assert sql("SELECT indisvalid FROM pg_index WHERE indexrelid = 'm.t_id'::regclass")[0][0]

    async def blocked_and_cancelled() -> dict[str, Any]:
        holder = await asyncpg.connect(database)
        try:
            async with holder.transaction():
                await holder.execute("LOCK TABLE m.t")
                address = (await asyncio.to_thread(service.post, "/modules/waiting/migrate", headers=ASYNC)).headers[
                    "location"
                ]

                def waits_for() -> list[int]:
                    (step,) = service.get(address).json()["schemas"]
                    return [one["pid"] for one in (step.get("progress") or {}).get("waiting_for", ())]

                assert await asyncio.to_thread(eventually, waits_for) == [holder.get_server_pid()]
                await asyncio.to_thread(service.post, f"{address}/cancel")
                run: dict[str, Any] = await asyncio.to_thread(
                    eventually, lambda: (run := service.get(address).json())["status"] == "cancelled" and run
                )
                return run
        finally:
            await holder.close()

    assert asyncio.run(blocked_and_cancelled())["problem"]["code"] == "run_cancelled"


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_without_utf8_behind_a_pooler(
    start: Callable[..., Any], repo: Any, databases: Databases, pooler: str, encoding: str
) -> None:
    text = "CREATE TABLE {{tables.t}} AS SELECT 'Zoë'::text AS name -- Übung"
    for number in range(8):
        repo.write(f"m{number}", _001_a=text)
    with databases.fresh(encoding=encoding) as database:
        # The queries between them have left every connection reset.
        service = start(database_url=pooler + urlsplit(database).path, direct_url=database)
        answers = [service.post(f"/modules/m{number}/migrate") for number in range(8)]
        assert [answer.status_code for answer in answers] == [200] * len(answers), answers[0].text
        run = service.get(f"/runs/{answers[0].json()['run_id']}").json()
        assert run["status"] == "succeeded"
        direct = Direct(database)
        assert direct.sql("SELECT name FROM m7.t")[0][0] == "Zoë"
        contents = direct.sql("SELECT DISTINCT content FROM pgdbm_service.file_contents")
        assert [row[0] for row in contents] == [text]
        direct.close()


def test_a_missing_direct_address_is_named(start: Callable[..., Any], pooled: str, sql: Callable[..., Any]) -> None:
    service = start(database_url=pooled, wait=False)
    eventually(lambda: "PGDBM_DIRECT_URL" in failure(service))
    assert "goes through a pooler" in failure(service)
    # If the server sets what the pooler drops, the connections are still not sessions.
    sql(f'ALTER DATABASE "{urlsplit(pooled).path[1:]}" SET search_path = pg_catalog')
    sql(
        "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    again = start(database_url=pooled, wait=False)
    eventually(lambda: "PGDBM_DIRECT_URL" in failure(again))
    assert "search_path" not in failure(again)


def test_a_pooler_is_detected_after_the_start() -> None:
    """It gave each connection a backend of its own while the service checked."""
    elsewhere = asyncpg.InvalidSQLStatementNameError('prepared statement "__asyncpg_stmt_1__" does not exist')
    in_a_query = pgdbm.SchemaError("The service keeps its own tables in a schema, and they cannot be read")
    in_a_query.__cause__ = pgdbm.QueryError("Query failed", original_error=elsewhere)
    in_a_query.__cause__.__cause__ = elsewhere
    for error in (elsewhere, in_a_query):
        assert "PGDBM_DIRECT_URL" in str(reason_of(error))
    assert reason_of(pgdbm.ConfigurationError("no such\nfile")) == "no such"
    assert reason_of(ValueError("a defect")) is None


def test_a_direct_address_that_is_pooled_or_another_database_is_refused(
    start: Callable[..., Any], pooled: str, postgres_dsn: str
) -> None:
    service = start(database_url=pooled, direct_url=pooled, wait=False)
    eventually(lambda: "PGDBM_DIRECT_URL goes through a pooler" in failure(service))
    elsewhere = start(database_url=pooled, direct_url=with_database(postgres_dsn, "postgres"), wait=False)
    eventually(lambda: "a different database" in failure(elsewhere))


def test_the_first_token_is_created_over_the_direct_address(
    launch: Callable[..., Any], database: str, watch: Any
) -> None:
    variables = {"DATABASE_URL": "postgresql://u@127.0.0.1:1/nowhere", "PGDBM_DIRECT_URL": database}
    command = launch("-m", "pgdbm_service", "token", "create", "root", "--scope", "admin", **variables)
    assert command.wait() == 0, command.err
    watch.plant("a token", command.out.split()[-1])
