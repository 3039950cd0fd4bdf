"""Behind PgBouncer in transaction mode, with a direct address beside it, and without."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg
import pytest

import pgdbm
from pgdbm_service.pooler import reason_of
from pgdbm_service.settings import SettingsError, read_settings

from ..conftest import with_database
from ..integration.pgbouncer import IGNORED, pgbouncer
from .conftest import eventually
from .streams import read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ASYNC = {"Prefer": "respond-async"}


@pytest.fixture(scope="module")
def pooler(postgres_dsn: str) -> Iterator[str]:
    with pgbouncer(postgres_dsn, ignored=IGNORED) as base:
        yield base


@pytest.fixture
def pooled(pooler: str, database: str) -> str:
    return pooler + urlsplit(database).path


def failure(service: Any) -> str:
    """Why the service has no database."""
    (check,) = [one for one in service.get("/health/ready").json()["checks"] if one["name"] == "database"]
    return str(check["detail"])


def test_it_migrates_streams_and_cancels(
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
                    (step,) = service.get(address).json()["steps"]
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


def test_without_a_direct_address_it_says_what_to_set(
    start: Callable[..., Any], pooled: str, sql: Callable[..., Any]
) -> None:
    service = start(database_url=pooled, wait=False)
    eventually(lambda: "PGDBM_DIRECT_URL" in failure(service))
    assert "pooler of transactions" in failure(service)
    # Where the server sets what the pooler drops, the connections are still not sessions.
    sql(f'ALTER DATABASE "{urlsplit(pooled).path[1:]}" SET search_path = pg_catalog')
    sql(
        "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    again = start(database_url=pooled, wait=False)
    eventually(lambda: "PGDBM_DIRECT_URL" in failure(again))
    assert "search_path" not in failure(again)


def test_a_pooler_that_is_noticed_late() -> None:
    """It gave each connection a backend of its own while the service looked."""
    elsewhere = asyncpg.InvalidSQLStatementNameError('prepared statement "__asyncpg_stmt_1__" does not exist')
    in_a_query = pgdbm.SchemaError("The service keeps its own tables in a schema, and they cannot be read")
    in_a_query.__cause__ = pgdbm.QueryError("Query failed", original_error=elsewhere)
    in_a_query.__cause__.__cause__ = elsewhere
    for error in (elsewhere, in_a_query):
        assert "PGDBM_DIRECT_URL" in str(reason_of(error))
    assert reason_of(pgdbm.ConnectionError("no route\nto host")) == "no route"
    assert reason_of(ValueError("a defect")) is None


def test_an_address_that_is_not_direct_or_leads_elsewhere(
    start: Callable[..., Any], pooled: str, postgres_dsn: str
) -> None:
    service = start(database_url=pooled, direct_url=pooled, wait=False)
    eventually(lambda: "PGDBM_DIRECT_URL leads through a pooler" in failure(service))
    elsewhere = start(database_url=pooled, direct_url=with_database(postgres_dsn, "postgres"), wait=False)
    eventually(lambda: "another database" in failure(elsewhere))


def test_the_first_token_is_made_past_the_pooler(launch: Callable[..., Any], database: str, watch: Any) -> None:
    variables = {"DATABASE_URL": "postgresql://u@127.0.0.1:1/nowhere", "PGDBM_DIRECT_URL": database}
    command = launch("-m", "pgdbm_service", "token", "create", "root", "--scope", "admin", **variables)
    assert command.wait() == 0, command.err
    watch.plant("a token", command.out.split()[-1])


def test_it_is_for_beside_a_url_alone() -> None:
    with pytest.raises(SettingsError, match=r"^PGDBM_DIRECT_URL is set, and DATABASE_URL is not"):
        read_settings({"PGDBM_DIRECT_URL": "postgresql://h/d"})
    with pytest.raises(SettingsError, match=r"^PGDBM_DIRECT_URL is not of the form") as caught:
        read_settings({"DATABASE_URL": "postgresql://h/d", "PGDBM_DIRECT_URL": "host=h password=hunter2"})
    assert "hunter2" not in str(caught.value)
