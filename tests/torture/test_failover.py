"""The leader of a Patroni pair is killed while the service migrates: the new one has each migration once."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import asyncpg
import httpx2
import pytest

from .effort import IS_LONG, SEED, rounds, seeded_random
from .patroni import missing, patroni_pair
from .replicas import Replica, post, replicas
from .test_replicas import check_applied_once, every_run_ends, write_modules

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.skipif(not IS_LONG, reason="a failover takes half a minute: make torture has it"),
    pytest.mark.skipif(bool(missing()), reason=f"not installed, and there is no failover without: {missing()}"),
]
_MODULES = 6


async def histories(dsn: str, modules: list[str]) -> dict[str, list[str]]:
    """What each module's history has, in order."""
    connection = await asyncpg.connect(dsn)
    try:
        found = {}
        for module in modules:
            there = await connection.fetchval(f"SELECT to_regclass('{module}.schema_migrations')")
            rows = await connection.fetch(f"SELECT filename FROM {module}.schema_migrations") if there else []
            found[module] = sorted(row["filename"] for row in rows)
        return found
    finally:
        await connection.close()


async def migrate_under_a_failover(started: list[Replica], modules: list[str], kill: Any) -> list[httpx2.Response]:
    """The answers to a call for each module: half wait, half follow their run. Reads are answered during that."""
    async with httpx2.AsyncClient(timeout=120) as client:
        calls = [
            migrate(client, started[number % len(started)].url, module, follows=number // len(started) % 2 == 1)
            for number, module in enumerate(modules)
        ]
        reading = [asyncio.create_task(keep_reading(client, replica.url)) for replica in started]
        try:
            return (await asyncio.gather(*calls, kill()))[:-1]
        finally:
            for task in reading:
                task.cancel()
            for ended in await asyncio.gather(*reading, return_exceptions=True):
                assert isinstance(ended, asyncio.CancelledError), ended


async def migrate(client: httpx2.AsyncClient, url: str, module: str, *, follows: bool) -> httpx2.Response:
    """The answer. The stream of a run continues through the failover, and misses nothing."""
    headers = {"Prefer": "respond-async"} if follows else {}
    answer = await client.post(f"{url}/modules/{module}/migrate", headers=headers)
    if follows and answer.status_code == 202:
        async with client.stream("GET", f"{url}{answer.headers['location']}/events") as stream:
            if stream.status_code == 503:
                return answer
            lines = [line async for line in stream.aiter_lines()]
        numbers = [int(line.removeprefix("id: ")) for line in lines if line.startswith("id: ")]
        kinds = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
        assert numbers == list(range(1, len(numbers) + 1)), lines
        assert kinds[-1] == "run_ended", lines
    return answer


async def keep_reading(client: httpx2.AsyncClient, url: str) -> None:
    """Read until cancelled: a temporary loss of the database must be reported as such."""
    while True:
        for path in ("/modules", "/runs", "/health/ready", "/schemas"):
            answer = await client.get(url + path)
            code = answer.json().get("code")
            assert answer.status_code == 200 or code in ("database_unavailable", "not_ready"), (path, answer.text)
        assert (await client.get(f"{url}/health/live")).status_code == 200
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(("count", "wanted"), [(1, "primary"), (2, "read-write")])
async def test_a_run_survives_the_death_of_the_leader(count: int, wanted: str, tmp_path: Path) -> None:
    rng = seeded_random(f"failover {count}")
    (repo := tmp_path / "repo").mkdir()
    async with (
        patroni_pair(tmp_path) as pair,
        replicas(count, pair.dsn(wanted), repo, tmp_path) as started,
        httpx2.AsyncClient(timeout=60) as client,
    ):
        urls = [replica.url for replica in started]
        for number in range(rounds(1, 3)):
            modules = write_modules(repo, count=_MODULES, prefix=f"f{number}_")
            for url in urls:
                (await client.post(f"{url}/repo/sync")).raise_for_status()
            after = rng.uniform(0, 2)
            why = f"seed {SEED}, round {number}, killed after {after:.3f} s"
            standby, leader = await pair.in_sync(), await pair.leader()

            async def kill(after: float = after, leader: Any = leader) -> None:
                await asyncio.sleep(after)
                leader.kill()

            answers = await migrate_under_a_failover(started, list(modules), kill)
            for replica in started:
                await replica.ready(client)
            assert await pair.leader() is standby, why
            ended = await every_run_ends(client, urls[0], why)
            assert set(ended) <= {"succeeded", "failed"}, (why, ended)

            kept = await histories(pair.dsn(), list(modules))
            for module, answer in zip(modules, answers, strict=True):
                await check_reported(client, urls[-1], module, answer, kept[module], f"{why}, {module}")
            for module in modules:
                answer = await post(client, urls, f"/modules/{module}/migrate")
                assert answer.status_code == 200, (why, answer.text)
            await check_applied_once(pair.dsn(), modules, why)
            leader.start()
            assert await pair.in_sync() is leader


async def check_reported(
    client: httpx2.AsyncClient, url: str, module: str, answer: httpx2.Response, kept: list[str], why: str
) -> None:
    """The answer and the run agree with the new leader."""
    body = answer.json()
    why = f"{why}: {answer.text}"
    assert answer.status_code in (200, 202, 503), why
    if answer.status_code == 503:
        assert body["code"] == "database_unavailable", why
        assert "retry-after" in answer.headers, why
    if answer.status_code == 200:
        assert [one["filename"] for one in body["applied"]] == kept, why
    runs = (await client.get(f"{url}/runs", params={"module": module})).raise_for_status().json()["items"]
    assert len(runs) <= 1, (why, runs)
    if answer.status_code != 503:
        assert runs, why
    for run in runs:
        reported = (await client.get(f"{url}/runs/{run['id']}")).raise_for_status().json()
        applied: Counter[str] = Counter(step["filename"] for one in reported["schemas"] for step in one["steps"])
        assert sorted(applied.elements()) == kept, (why, reported)
        if reported["status"] == "failed":
            assert reported["problem"]["code"] == "database_unavailable", (why, reported)
