"""Three replicas under load that are killed and restarted, and their database too: no run is lost."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import asyncpg
import httpx2
import pytest

from .effort import IS_LONG, SEED, rounds, seeded_random
from .replicas import Replica, post, replicas
from .test_crashes import crash, server  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pgdbm.embedded import EmbeddedPostgres

_MODULES = rounds(6, 20)
_CALLS = rounds(40, 200)
_WAVES = rounds(1, 10)
# 409 means that the files or the history have changed; the others are documented for a migrate.
_ANSWERS = (200, 202, 409, 422)
_OPEN = ("queued", "running")


def write_modules(repo: Path, *, count: int = _MODULES, prefix: str = "m") -> dict[str, list[str]]:
    """Modules whose files would fail, or leave a trace, if they ran twice; the names of their files."""
    names = {}
    for number in range(count):
        folder = repo / f"{prefix}{number:02}"
        folder.mkdir(parents=True)
        files = {
            "001_log.sql": "CREATE TABLE {{tables.log}} (word text);\nINSERT INTO {{tables.log}} VALUES ('001');",
            "002_slow.sql": "SELECT pg_sleep(0.2);\nINSERT INTO {{tables.log}} VALUES ('002');",
            "003_t.sql": "CREATE TABLE {{tables.t}} (id int);\nINSERT INTO {{tables.log}} VALUES ('003');",
            "004_index.sql": "-- pgdbm:no-transaction\nCREATE INDEX CONCURRENTLY t_id ON {{tables.t}} (id);",
            "005_note.sql": "ALTER TABLE {{tables.t}} ADD note text;\nINSERT INTO {{tables.log}} VALUES ('005');",
        }
        for name, text in files.items():
            (folder / name).write_text(text)
        names[folder.name] = list(files)
    return names


async def check_applied_once(dsn: str, modules: dict[str, list[str]], why: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        for module, files in modules.items():
            rows = await connection.fetch(f"SELECT filename FROM {module}.schema_migrations")
            assert Counter(row["filename"] for row in rows) == dict.fromkeys(files, 1), (why, module)
            words = [row["word"] for row in await connection.fetch(f"SELECT word FROM {module}.log")]
            assert sorted(words) == ["001", "002", "003", "005"], (why, module)
            assert await connection.fetchval(
                f"SELECT indisvalid FROM pg_index WHERE indexrelid = '{module}.t_id'::regclass"
            )
    finally:
        await connection.close()


async def every_run_ends(client: httpx2.AsyncClient, url: str, why: str) -> Counter[str]:
    """How many runs ended in which way, once none is in progress. One has to end every two minutes."""
    fewest, since = sys.maxsize, time.monotonic()
    while True:
        runs: list[dict[str, Any]] = []
        page: dict[str, Any] = {"next": ""}
        while page["next"] is not None:
            query = {"limit": "200"} | ({"next": page["next"]} if page["next"] else {})
            page = (await client.get(f"{url}/runs", params=query)).raise_for_status().json()
            runs += page["items"]
        unfinished = [run for run in runs if run["status"] in _OPEN]
        if not unfinished:
            return Counter(run["status"] for run in runs)
        if len(unfinished) < fewest:
            fewest, since = len(unfinished), time.monotonic()
        assert time.monotonic() < since + 120, (why, unfinished)
        await asyncio.sleep(0.2)
    raise AssertionError(why)


async def migrate_concurrently(started: list[Replica], modules: Sequence[str], rng: Any) -> list[httpx2.Response]:
    """Many concurrent migrations, over every module and replica."""
    urls = [replica.url for replica in started]
    limits = httpx2.Limits(max_connections=_CALLS)
    async with httpx2.AsyncClient(timeout=120, limits=limits) as client:
        calls = []
        for number in range(_CALLS):
            module = modules[number % len(modules)]
            order = rng.sample(urls, len(urls))
            headers = {"Prefer": "respond-async"} if rng.random() < 0.2 else {}
            calls.append(post(client, order, f"/modules/{module}/migrate", headers=headers))
        return list(await asyncio.gather(*calls))


@pytest.mark.skipif(not IS_LONG, reason="make torture: here it is done while the database dies")
async def test_concurrent_calls_apply_each_migration_once(database: str, tmp_path: Path) -> None:
    rng, why = seeded_random("replicas"), f"seed {SEED}"
    modules = write_modules(tmp_path / "repo")
    async with replicas(3, database, tmp_path / "repo", tmp_path) as started:
        answers = await migrate_concurrently(started, list(modules), rng)
        assert {answer.status_code for answer in answers} <= {200, 202}, Counter(a.text for a in answers)
        async with httpx2.AsyncClient() as client:
            ended = await every_run_ends(client, started[0].url, why)
        assert set(ended) == {"succeeded"}, (why, ended)
    await check_applied_once(database, modules, why)


# The tests of the service kill replicas as well, one at a time.
@pytest.mark.parametrize("disturbed", ["replicas", "database"] if IS_LONG else ["database"])
async def test_killed_replicas_lose_no_run(disturbed: str, server: EmbeddedPostgres, tmp_path: Path) -> None:  # noqa: F811
    rng, why = seeded_random(f"killed {disturbed}"), f"seed {SEED}, {disturbed}"
    dsn = server.dsn()
    modules = write_modules(tmp_path / "repo", count=_WAVES * _MODULES)
    # Each migrates modules that were not migrated yet, while there are some.
    waves = itertools.cycle(list(modules)[first::_WAVES] for first in range(_WAVES))
    answers: list[httpx2.Response] = []
    times: list[float] = []
    # What a replica was processing when the database died is given to another one after this time.
    deadline = {} if IS_LONG else {"PGDBM_TAKEOVER_S": "3"}
    async with replicas(3, dsn, tmp_path / "repo", tmp_path, **deadline) as started:

        async def disturb() -> None:
            until = time.monotonic() + rounds(1, 60)
            while time.monotonic() < until:
                await asyncio.sleep(1 if IS_LONG else 0.2)
                times.append(time.monotonic())
                if disturbed == "database":
                    await asyncio.to_thread(crash, server)
                    continue
                victim = rng.choice(started)
                await victim.kill()
                await victim.start()

        disturbing = asyncio.create_task(disturb())
        try:
            answers += await migrate_concurrently(started, next(waves), rng)
            while IS_LONG and not disturbing.done():
                answers += await migrate_concurrently(started, next(waves), rng)
            await disturbing
        finally:
            disturbing.cancel()
            await asyncio.gather(disturbing, return_exceptions=True)
        assert times, "all was over before anything was killed"
        assert {answer.status_code for answer in answers} <= set(_ANSWERS), Counter(a.text for a in answers)
        async with httpx2.AsyncClient(timeout=60) as client:
            for replica in started:
                await replica.ready(client)
            await every_run_ends(client, started[0].url, why)
            # The next call completes what failed because of a lost connection.
            for module in modules:
                with contextlib.suppress(httpx2.TransportError):
                    answer = await post(client, [replica.url for replica in started], f"/modules/{module}/migrate")
                    assert answer.status_code == 200, (why, answer.text)
    await check_applied_once(dsn, modules, why)
