"""A backup that is taken during a run, restored into another database: the run is continued there."""

from __future__ import annotations

import asyncio
import os
import subprocess
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from pgdbm.embedded.cluster import binaries

from ..running_service import http_get, http_post

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Databases

    from ..conftest import Process
    from ..running_service import Repo

ASLEEP = "SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
# Waits as long as this is the database that the backup is of.
HELD = """DO $$ BEGIN
  FOR turn IN 1..600 LOOP EXIT WHEN current_database() <> '{}'; PERFORM pg_sleep(0.1); END LOOP;
END $$;
CREATE TABLE {{{{tables.second}}}} (id integer);
"""


async def found(dsn: str) -> tuple[list[str], bool]:
    """What is applied in the module's schema, and whether its last table is there."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch("SELECT filename FROM m.schema_migrations ORDER BY id")
        return [row[0] for row in rows], await connection.fetchval("SELECT to_regclass('m.second') IS NOT NULL")
    finally:
        await connection.close()


@pytest.mark.parametrize("only_schemas", [False, True], ids=["database", "schemas"])
def test_a_run_is_continued_after_a_restore(
    fork: Callable[..., Process],
    databases: Databases,
    database: str,
    repo: Repo,
    sql: Callable[..., Any],
    eventually: Callable[..., Any],
    only_schemas: bool,
) -> None:
    repo.write("m", _001_first="CREATE TABLE {{tables.first}} (id integer)")
    repo.write("m", _002_second=HELD.format(database.rpartition("/")[2].partition("?")[0]))
    first = fork(DATABASE_URL=database)
    started = http_post(f"{first.url()}/modules/m/migrate", headers={"Prefer": "respond-async"})
    assert started.status_code == 202, started.text
    eventually(lambda: sql(ASLEEP))
    schemas = ["--schema=m", "--schema=pgdbm_service"] if only_schemas else []
    dump = subprocess.run([binaries() / "pg_dump", *schemas, database], check=True, capture_output=True)
    first.popen.kill()
    with databases.fresh() as restored:
        load = [binaries() / "psql", "--quiet", "--set=ON_ERROR_STOP=1", restored]
        subprocess.run(load, input=dump.stdout, check=True, capture_output=True, env=os.environ)
        second = fork(DATABASE_URL=restored, PGDBM_TAKEOVER_S="1")
        address = f"{second.url()}{started.headers['location']}"
        run = eventually(lambda: (run := http_get(address).json())["status"] not in ("queued", "running") and run)
        assert run["status"] == "succeeded", run
        applied, there = asyncio.run(found(restored))
        assert applied == ["001_first.sql", "002_second.sql"]
        assert there
        assert http_get(f"{second.url()}/modules/m").json()["state"] == "up_to_date"
        second.popen.kill()
