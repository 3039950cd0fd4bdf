"""A backfill in many schemas over three replicas, which are killed, frozen and woken: each row is processed once."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import asyncpg
import httpx2

from .effort import IS_LONG, SEED, rounds, seeded_random
from .replicas import replicas
from .states import check_clean
from .test_backfills import ROWS, TABLE

if TYPE_CHECKING:
    from pathlib import Path

_SCHEMAS = rounds(6, 100)
_DISTURBANCES = rounds(2, 8)
# Others take over what a frozen replica works on. It wakes up while they do, or after a minute.
_FREEZES_S = (4.0, 60.0) if IS_LONG else (3.0,)
_FILL = """
-- pgdbm:backfill table={{tables.orders}} key=tenant,id batch=10 target=5ms rate=300 background
UPDATE {{tables.orders}} SET cents = total * 100 WHERE (tenant, id) BETWEEN $from AND $to;
"""


async def test_replicas_that_are_killed_and_frozen_process_each_row_once(database: str, tmp_path: Path) -> None:
    chance, why = seeded_random("fan-out of a backfill"), f"seed {SEED}"
    folder = tmp_path / "repo" / "shop"
    folder.mkdir(parents=True)
    schemas = [f"t{number:03}" for number in range(_SCHEMAS)]
    (folder / "module.toml").write_text(f"schemas = {schemas}".replace("'", '"'))
    for name, text in {**TABLE.files, "012_backfill.sql": _FILL}.items():
        (folder / name).write_text(text)
    variables = {"PGDBM_TAKEOVER_S": "2", "PGDBM_LOCK_WAIT_S": "2"}
    async with (
        replicas(3, database, tmp_path / "repo", tmp_path, **variables) as started,
        httpx2.AsyncClient(timeout=120) as client,
    ):
        (await client.post(f"{started[0].url}/modules/shop/migrate")).raise_for_status()
        for number in range(_DISTURBANCES):
            await asyncio.sleep(chance.uniform(0.2, 1.5))
            victim = chance.choice(started)
            if number % 2 == 0:
                await victim.kill()
                await victim.start()
                continue
            assert victim.process is not None
            victim.process.send_signal(signal.SIGSTOP)
            try:
                await asyncio.sleep(_FREEZES_S[number // 2 % len(_FREEZES_S)])
            finally:
                victim.process.send_signal(signal.SIGCONT)
        for replica in started:
            await replica.ready(client)
        async with asyncio.timeout(1800):
            while True:
                runs = (await client.get(f"{started[0].url}/runs")).raise_for_status().json()["items"]
                if all(run["status"] not in ("queued", "running") for run in runs):
                    break
                await asyncio.sleep(0.2)
        assert [run["status"] for run in runs] == ["succeeded", "succeeded"], (why, runs)
        assert (await client.get(f"{started[0].url}/modules/shop")).json()["state"] == "up_to_date", why
    connection = await asyncpg.connect(database)
    try:
        for schema in schemas:
            found = await connection.fetch(
                f"SELECT touched, cents IS NOT DISTINCT FROM total * 100, count(*) FROM {schema}.orders GROUP BY 1, 2"
            )
            assert [tuple(row) for row in found] == [(1, True, ROWS)], (why, schema)
            walked = await connection.fetchrow(f"SELECT walked_rows, changed_rows FROM {schema}.pgdbm_backfills")
            assert tuple(walked) == (ROWS, ROWS), (why, schema)
        await check_clean(connection, why)
    finally:
        await connection.close()
