"""Upgrades and downgrades of the service with runs in progress: no run is lost, and nothing is applied twice."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import ExitStack
from typing import TYPE_CHECKING

import asyncpg
import httpx2
import pytest

from ..support.releases import APP, DEADLINE_S, PREVIOUS_COMMIT, ReleasedService, previous_release
from .effort import SEED, rounds, seeded_random
from .test_replicas import check_applied_once, every_run_ends, write_modules

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from ..conftest import Databases

_ROUNDS = rounds(3, 20)
_MODULES = 4
# The test decides when it ends, so that it is in progress while the releases change.
_HELD = """CREATE TABLE {{tables.t}} (id int);
DO $$ BEGIN
    WHILE NOT EXISTS (SELECT FROM public.released WHERE stage = 'STAGE') LOOP PERFORM pg_sleep(0.05); END LOOP;
END $$;
"""
_IS_HELD = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%WHILE NOT EXISTS%' AND pid <> pg_backend_pid()"


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = previous_release(tmp_path_factory.mktemp("previous"))
    if found is None:
        pytest.skip(f"git does not have the commit {PREVIOUS_COMMIT}")
    return found


@pytest.mark.slow
@pytest.mark.timeout(120 + 60 * _ROUNDS)
def test_no_run_is_lost_by_upgrades_and_downgrades(previous: Path, databases: Databases, tmp_path: Path) -> None:
    rng = seeded_random("upgrades")
    for number in range(_ROUNDS):
        folder = tmp_path / str(number)
        # Empty: the tables of the service are those of the previous release, until the new one starts.
        with databases.fresh() as database:
            asyncio.run(_upgrade_and_downgrade(previous, database, folder, rng, f"seed {SEED}, round {number}"))


async def _upgrade_and_downgrade(previous: Path, dsn: str, folder: Path, rng: random.Random, why: str) -> None:
    repository = folder / "repository"
    modules = {stage: write_modules(repository, count=_MODULES, prefix=stage) for stage in ("up", "down")}
    registered = write_modules(folder / "registered", count=2, prefix="sent")
    for stage in modules:
        (repository / f"held_{stage}").mkdir()
        (repository / f"held_{stage}" / "001_held.sql").write_text(_HELD.replace("STAGE", stage))
    await _execute(dsn, "CREATE TABLE public.released (stage text)")
    # Without a grace period, the statement is cancelled, and the other release executes it again.
    grace_s = rng.choice(["0", "30"])
    why = f"{why}, grace period of {grace_s} s"
    settings = {"PGDBM_SHUTDOWN_GRACE_S": grace_s, "PGDBM_TAKEOVER_S": "2"}
    accepted: list[str] = []
    addresses: list[str] = []
    waiting: list[asyncio.Task[None]] = []

    def start(app: Path, name: str) -> ReleasedService:
        return stack.enter_context(ReleasedService(app, dsn, repository, folder / f"{name}.log", **settings))

    async def replace(stage: str, leaving: ReleasedService, app: Path, sent: Path) -> ReleasedService:
        """Start the other release beside ``leaving`` while runs are in progress, then stop ``leaving``."""
        old = await asyncio.to_thread(lambda: leaving.url)
        accepted.append(await _submit(client, old, f"held_{stage}"))
        names = list(modules[stage])
        accepted.extend([await _submit(client, old, name) for name in names[::2]])
        await _until(dsn, _IS_HELD)
        arriving = start(app, stage)
        new = await asyncio.to_thread(lambda: arriving.url)
        addresses[:] = [old, new]
        waiting.extend(asyncio.create_task(_migrate(client, addresses, name, rng)) for name in names[1::2])
        accepted.append(await _register_and_submit(client, rng.choice(addresses), sent))
        leaving.process.terminate()
        if grace_s != "0":
            await _execute(dsn, f"INSERT INTO public.released VALUES ('{stage}')")
        assert await asyncio.to_thread(leaving.process.wait, DEADLINE_S) == 0, (why, leaving.log())
        addresses[:] = [new]
        await _execute(dsn, f"INSERT INTO public.released VALUES ('{stage}')")
        return arriving

    with ExitStack() as stack:
        async with httpx2.AsyncClient(timeout=DEADLINE_S) as client:
            service = start(previous, "previous")
            service = await replace("up", service, APP, folder / "registered" / "sent00")
            service = await replace("down", service, previous, folder / "registered" / "sent01")
            await asyncio.gather(*waiting)
            ended = await every_run_ends(client, service.url, why)
            assert set(ended) == {"succeeded"}, (why, ended)
            for run in accepted:
                found = (await client.get(f"{service.url}/runs/{run}")).raise_for_status().json()
                assert found["status"] == "succeeded", (why, found)
    await check_applied_once(dsn, modules["up"] | modules["down"] | registered, why)


async def _submit(client: httpx2.AsyncClient, url: str, module: str) -> str:
    """The id of the run that migrates ``module``, which has not ended."""
    answer = await client.post(f"{url}/modules/{module}/migrate", headers={"Prefer": "respond-async"})
    assert answer.status_code == 202, answer.text
    run: str = answer.json()["id"]
    return run


async def _register_and_submit(client: httpx2.AsyncClient, url: str, files: Path) -> str:
    body = {"migrations": [{"filename": file.name, "content": file.read_text()} for file in files.iterdir()]}
    (await client.put(f"{url}/modules/{files.name}", json=body)).raise_for_status()
    return await _submit(client, url, files.name)


async def _migrate(client: httpx2.AsyncClient, addresses: list[str], module: str, rng: random.Random) -> None:
    """Migrate ``module`` and wait for the end, as a deploy job does, at any of the current addresses."""
    async with asyncio.timeout(DEADLINE_S * 3):
        while True:
            with contextlib.suppress(httpx2.TransportError):
                answer = await client.post(f"{rng.choice(addresses)}/modules/{module}/migrate")
                if answer.status_code in (200, 202):
                    return
                assert answer.status_code == 503, answer.text
            await asyncio.sleep(0.1)


async def _until(dsn: str, query: str) -> None:
    """Return once ``query`` finds something."""
    connection = await asyncpg.connect(dsn)
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not await connection.fetchval(query):
                await asyncio.sleep(0.02)
    finally:
        await connection.close()


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
