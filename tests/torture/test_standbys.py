"""Backfills of a server with a streaming standby: they wait for it, and survive that it takes over."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

import pgdbm
from pgdbm import AsyncDatabaseManager, AsyncMigrationManager

from ..support.standby import Pair, connected, replicated_pair
from .effort import IS_LONG, SEED, rounds, seeded_random
from .plans import MigrationPlan
from .replicas import replicas
from .states import migrate, opened_pool
from .test_backfills import TABLE, check_each_row_once

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from pgdbm.migrations.engine.events import Event

_FREEZE_S = 45 if IS_LONG else 3
_FILL = """
-- pgdbm:backfill table={{{{tables.orders}}}} key=tenant,id batch=10 target=20ms pause=5ms {}
UPDATE {{{{tables.orders}}}} SET cents = total * 100 WHERE (tenant, id) BETWEEN $from AND $to;
"""


def filling(options: str = "") -> MigrationPlan:
    return MigrationPlan("filling", TABLE.files | {"012_backfill.sql": _FILL.format(options)})


@pytest.fixture
async def pair(seed: Path) -> AsyncIterator[Pair]:
    async with replicated_pair(seed) as made:
        yield made


class Filling:
    """A backfill that runs, with its events."""

    def __init__(self, pool: Any, schema: str, plan: MigrationPlan) -> None:
        self.events: list[Event] = []
        db = AsyncDatabaseManager(pool=pool, schema=schema)
        manager = AsyncMigrationManager(db, plan.files, "torture", on_event=self.events.append)
        self.task = asyncio.create_task(manager.apply_pending_migrations())

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                assert not self.task.done(), self.task
                await asyncio.sleep(0.005)

    @property
    def rows(self) -> int:
        return max((one.details["rows"] for one in self.events if one.kind == "progress"), default=0)

    @property
    def reasons(self) -> list[str | None]:
        return [one.details["reason"] for one in self.events if one.kind == "backfill_waiting"]


@pytest.mark.parametrize("limit", ["max_lag=500ms", "max_lag=off max_lag_size=1kB"])
async def test_a_backfill_waits_for_a_standby_that_does_not_replay(pair: Pair, limit: str) -> None:
    async with opened_pool(pair.leader.dsn()) as pool, connected(pair.standby.dsn()) as standby:
        await migrate(pool, "lag", TABLE)
        await pair.in_sync()
        await standby.execute("SELECT pg_wal_replay_pause()")
        run = Filling(pool, "lag", filling(f"rate=100 {limit}"))
        await run.until(lambda: "replication_lag" in run.reasons)
        before = await pool.fetchval("SELECT walked_rows FROM lag.pgdbm_backfills")
        shown = await pool.fetchval("SELECT waiting_for FROM lag.pgdbm_backfills")
        assert shown.startswith("a standby is ")
        await asyncio.sleep(0.5)
        assert await pool.fetchval("SELECT walked_rows FROM lag.pgdbm_backfills") == before < 300
        await standby.execute("SELECT pg_wal_replay_resume()")
        await run.task
        assert run.reasons[-1] is None
        async with pool.acquire() as connection:
            await check_each_row_once(connection, "lag", limit)
        await pair.in_sync()
        await check_each_row_once(standby, "lag", limit)


async def test_a_backfill_waits_for_a_standby_that_is_frozen(pair: Pair) -> None:
    """It answers nothing, so that the server reports the lag that it had before."""
    async with opened_pool(pair.leader.dsn()) as pool, connected(pair.standby.dsn()) as standby:
        await migrate(pool, "frozen", TABLE)
        await pair.in_sync()
        run = Filling(pool, "frozen", filling("max_lag=500ms rate=100"))
        await run.until(lambda: run.rows)
        pair.freeze_standby()
        try:
            await run.until(lambda: "replication_lag" in run.reasons)
            before = await pool.fetchval("SELECT walked_rows FROM frozen.pgdbm_backfills")
            await asyncio.sleep(_FREEZE_S)
            assert await pool.fetchval("SELECT walked_rows FROM frozen.pgdbm_backfills") == before < 300
        finally:
            pair.wake_standby()
        await run.task
        async with pool.acquire() as connection:
            await check_each_row_once(connection, "frozen", "leader")
        await pair.in_sync()
        await check_each_row_once(standby, "frozen", "standby")


@pytest.mark.parametrize("loses_commits", [False, True], ids=["in sync", "behind"])
async def test_a_backfill_continues_on_the_standby_that_takes_over(pair: Pair, loses_commits: bool) -> None:
    """What was not replicated is lost with its position: it is done again, and nothing twice."""
    chance = seeded_random(f"failover of a backfill {loses_commits}")
    # Far enough from the end, 300, that it has not ended before the leader is killed.
    at = chance.randint(20, 100)
    async with opened_pool(pair.dsn()) as pool, connected(pair.standby.dsn()) as standby:
        await migrate(pool, "failover", TABLE)
        await pair.in_sync()
        run = Filling(pool, "failover", filling("rate=200"))
        await run.until(lambda: run.rows >= at)
        received = await standby.fetchval("SELECT pg_last_wal_receive_lsn()")
        if loses_commits:
            pair.freeze_standby()
            known = run.rows
            await run.until(lambda: run.rows > known)
        pair.kill_leader()
        if loses_commits:
            pair.wake_standby()
        await pair.promote()
        with pytest.raises(pgdbm.ConnectionError) as lost:
            await run.task
        assert lost.value.details["applied"] == []
        why = f"seed {SEED}, at {at} rows, {received}"
        kept = await standby.fetchval("SELECT walked_rows FROM failover.pgdbm_backfills")
        once = "SELECT count(*) FROM failover.orders WHERE touched = 1"
        assert await standby.fetchval(once) == kept, why
        assert 0 < kept < 300, why
    async with opened_pool(pair.dsn()) as pool, connected(pair.standby.dsn()) as leader:
        result = await migrate(pool, "failover", filling())
        assert [one["filename"] for one in result["applied"]] == ["012_backfill.sql"], why
        await check_each_row_once(leader, "failover", why)


@pytest.mark.parametrize("number", range(rounds(1, 5)))
async def test_a_run_of_the_service_continues_on_the_standby_that_takes_over(
    pair: Pair, tmp_path: Path, number: int
) -> None:
    """No client has to ask again for a backfill in the background."""
    after = seeded_random(f"failover of a run {number}").uniform(0.1, 1.0)
    folder = tmp_path / "repo" / "shop"
    folder.mkdir(parents=True)
    for name, text in filling("rate=150 background").files.items():
        (folder / name).write_text(text)
    async with (
        replicas(2, pair.dsn(), tmp_path / "repo", tmp_path, PGDBM_TAKEOVER_S="3") as started,
        httpx2.AsyncClient(timeout=60) as client,
    ):
        url = started[0].url
        (await client.post(f"{url}/modules/shop/migrate")).raise_for_status()
        run = await _background_run(client, url)
        await asyncio.sleep(after)
        await pair.in_sync()
        pair.kill_leader()
        await pair.promote()
        ended = await _ended(client, url, run)
        assert ended["status"] == "succeeded", (after, ended)
        assert "012_backfill.sql" in [step["filename"] for step in ended["schemas"][0]["steps"]], ended
    async with connected(pair.standby.dsn()) as leader:
        await check_each_row_once(leader, "shop", f"seed {SEED}, after {after:.3f} s")


async def _background_run(client: httpx2.AsyncClient, url: str) -> str:
    """The run that executes the backfill, once it has processed a row."""
    async with asyncio.timeout(60):
        while True:
            for one in (await client.get(f"{url}/runs")).raise_for_status().json()["items"]:
                run = (await client.get(f"{url}/runs/{one['id']}")).json()
                if run["options"]["background"] and run["status"] == "running":
                    return str(run["id"])
            await asyncio.sleep(0.02)


async def _ended(client: httpx2.AsyncClient, url: str, run: str) -> dict[str, Any]:
    until = time.monotonic() + 90
    while time.monotonic() < until:
        answer = await client.get(f"{url}/runs/{run}")
        if answer.status_code == 200 and answer.json()["status"] not in ("queued", "running"):
            found: dict[str, Any] = answer.json()
            return found
        await asyncio.sleep(0.1)
    raise AssertionError(answer.text)
