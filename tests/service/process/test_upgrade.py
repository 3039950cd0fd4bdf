"""A new release of the service beside the previous one, and back: runs, modules and tokens stay.

The new release is this one with one more migration.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import asyncpg
import pytest

from tests.support.releases import APP, DEADLINE_S, PREVIOUS_COMMIT, ReleasedService, previous_release

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Databases


def call(address: str, method: str, path: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = Request(f"{address}{path}", data, {"content-type": "application/json"}, method=method)
    with urlopen(request, timeout=DEADLINE_S) as answer:
        return json.loads(answer.read())


@pytest.fixture
def following(tmp_path: Path) -> Path:
    """The code of the new release."""
    app = tmp_path / "following"
    shutil.copytree(APP, app, ignore=shutil.ignore_patterns("__pycache__"))
    (app / "pgdbm_service" / "migrations" / "999_more.sql").write_text("CREATE TABLE {{tables.more}} (id integer);\n")
    return app


@pytest.mark.slow
def test_the_new_release_and_the_previous_one_share_a_database(
    following: Path, databases: Databases, tmp_path: Path
) -> None:
    repository = tmp_path / "repository"
    for name in ("one", "two", "three", "four"):
        (repository / name).mkdir(parents=True)
        (repository / name / "001_table.sql").write_text("CREATE TABLE {{tables.things}} (id int);\n")

    # Empty: the fixture `database` has the tables of the service already.
    with databases.fresh() as database:
        check(following, database, repository)


def check(following: Path, database: str, repository: Path) -> None:
    async def count_applied() -> int:
        connection = await asyncpg.connect(database)
        count: int = await connection.fetchval("SELECT count(*) FROM pgdbm_service.schema_migrations")
        await connection.close()
        return count

    def applied() -> int:
        return asyncio.run(count_applied())

    with ReleasedService(APP, database, repository, following.parent / "old.log") as old:
        assert call(old.url, "POST", "/modules/one/migrate")["status"] == "success"
        before = applied()
        with ReleasedService(following, database, repository, following.parent / "new.log") as new:
            assert call(new.url, "GET", "/version")
            assert applied() == before + 1
            # Each sees what the other does, and both still migrate.
            assert call(new.url, "GET", "/modules/one")["state"] == "up_to_date"
            assert call(old.url, "POST", "/modules/two/migrate")["status"] == "success"
            assert call(new.url, "POST", "/modules/three/migrate")["status"] == "success"
            assert call(old.url, "GET", "/modules/three")["state"] == "up_to_date"
            runs = [run["id"] for run in call(new.url, "GET", "/runs")["items"]]
            assert len(runs) == 3
            assert [run["id"] for run in call(old.url, "GET", "/runs")["items"]] == runs
    # Back to the previous release, on the tables of the new one.
    with ReleasedService(APP, database, repository, following.parent / "back.log") as old:
        assert call(old.url, "POST", "/modules/four/migrate")["status"] == "success"
        assert len(call(old.url, "GET", "/runs")["items"]) == 4
    assert applied() == before + 1


async def fetch(database: str, query: str) -> list[Any]:
    connection = await asyncpg.connect(database)
    try:
        return list(await connection.fetch(query))
    finally:
        await connection.close()


@pytest.mark.slow
def test_the_previous_release_works_beside_webhooks_and_runs_that_wait(databases: Databases, tmp_path: Path) -> None:
    previous = previous_release(tmp_path / "previous")
    if previous is None:
        pytest.skip(f"git does not have the commit {PREVIOUS_COMMIT}")
    repository = tmp_path / "repository"
    for name in ("one", "two"):
        (repository / name).mkdir(parents=True)
        (repository / name / "001_table.sql").write_text("CREATE TABLE {{tables.things}} (id int);\n")
    with databases.fresh() as database, ReleasedService(previous, database, repository, tmp_path / "old.log") as old:
        assert old.url
        private = {"PGDBM_WEBHOOK_PRIVATE_ADDRESSES": "true"}
        with ReleasedService(APP, database, repository, tmp_path / "new.log", **private) as new:
            call(new.url, "POST", "/webhooks", {"url": "http://127.0.0.1:9/nothing"})
            assert call(old.url, "POST", "/modules/one/migrate")["status"] == "success"
            rows = asyncio.run(fetch(database, "SELECT event FROM pgdbm_service.webhook_deliveries ORDER BY number"))
            assert [row["event"] for row in rows] == ["run.queued", "run.succeeded"]
            # The previous release does not know these.
            for status in ("waiting_for_approval", "held"):
                asyncio.run(
                    fetch(
                        database,
                        "INSERT INTO pgdbm_service.runs (id, module, status, options, digest, created_by) "
                        f"VALUES (gen_random_uuid(), 'two', '{status}', '{{}}', '{status}', 'test')",
                    )
                )
            runs = call(old.url, "GET", "/runs")["items"]
            assert [run["status"] for run in runs] == ["held", "waiting_for_approval", "succeeded"]
            assert [call(old.url, "GET", f"/runs/{run['id']}")["id"] for run in runs] == [run["id"] for run in runs]
            assert call(old.url, "POST", "/modules/two/migrate")["status"] == "success"
