"""Runners that are killed with -9 wherever it hurts: the next run brings everything to where it should be.

The long setting kills more than 500 of them: at every boundary of statements, at some twice, and in between.
"""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from .effort import SEED, dice, rounds
from .plans import ALL, ALL_CHEAP, CHEAP, MIXED, THERE_AND_BACK, Torment
from .states import check_equal, history_of, migrate, opened_pool, read_state, revert, undisturbed, until_gone
from .victims import victims

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    import asyncpg

    Connect = Callable[[], AbstractAsyncContextManager[asyncpg.Connection[Any]]]


@pytest.mark.parametrize(
    ("torment", "quick", "long"), [(MIXED, 7, 150), (ALL, 3, 60)], ids=lambda x: getattr(x, "name", "")
)
async def test_at_every_boundary_of_statements(
    database: str, connect: Connect, torment: Torment, quick: int, long: int
) -> None:
    chance = dice(f"boundaries {torment.name}")
    async with opened_pool(database) as pool, victims(database) as killed, connect() as connection:
        wanted = await undisturbed(pool, torment)
        (whole,) = await killed.migrate("counted", torment, listens=True)
        boundaries = list(range(1, len(whole["events"]) + 1))
        count = rounds(quick, long)
        chosen = chance.sample(boundaries, count) if count < len(boundaries) else boundaries
        chosen += chance.choices(boundaries, k=count - len(chosen))
        for number, boundary in enumerate(chosen):
            schema, why = f"kill_{number}", f"seed {SEED}, event {boundary}: {whole['events'][boundary - 1]}"
            (answer,) = await killed.migrate(schema, torment, listens=True, kill_at_event=boundary)
            assert answer["signal"] == signal.SIGKILL, why
            await _converges(pool, connection, schema, torment, wanted, why)


@pytest.mark.parametrize(
    ("torment", "quick", "long"),
    [(MIXED, 8, 200), (CHEAP, 4, 60), (ALL, 2, 20), (ALL_CHEAP, 2, 30)],
    ids=lambda x: getattr(x, "name", ""),
)
async def test_at_any_time(database: str, connect: Connect, torment: Torment, quick: int, long: int) -> None:
    chance = dice(f"times {torment.name}")
    async with opened_pool(database) as pool, victims(database) as killed, connect() as connection:
        wanted = await undisturbed(pool, torment)
        (whole,) = await killed.migrate("timed", torment)
        seconds = whole["result"]["total_time_ms"] / 1000
        for number in range(rounds(quick, long)):
            after = chance.uniform(0, seconds * 1.1)
            schema, why = f"kill_{number}", f"seed {SEED}, after {after:.4f} s of {seconds:.4f} s"
            (answer,) = await killed.migrate(schema, torment, kill_after_s=after)
            await _converges(pool, connection, schema, torment, wanted, (why, answer.get("error")))


async def test_on_the_way_back(database: str, connect: Connect) -> None:
    """Each statement of each way back is done once, whoever died under it."""
    steps = sum(name.endswith(".down.sql") for name in THERE_AND_BACK.files)
    chance = dice("on the way back")
    async with opened_pool(database) as pool, victims(database) as killed, connect() as connection:
        await migrate(pool, "undisturbed", THERE_AND_BACK)
        began = time.monotonic()
        await revert(pool, "undisturbed", THERE_AND_BACK, steps)
        seconds = time.monotonic() - began
        wanted = await read_state(connection, "undisturbed")
        for number in range(rounds(5, 80)):
            after = chance.uniform(0, seconds * 1.1)
            schema, why = f"back_{number}", f"seed {SEED}, after {after:.4f} s of {seconds:.4f} s"
            await migrate(pool, schema, THERE_AND_BACK)
            (answer,) = await killed.migrate(schema, THERE_AND_BACK, revert=steps, kill_after_s=after)
            await until_gone(connection, "victim")
            left = len(await history_of(connection, schema)) - (len(THERE_AND_BACK.files) - 2 * steps)
            if left:
                await revert(pool, schema, THERE_AND_BACK, left)
            await check_equal(connection, schema, wanted, (why, left, answer.get("error")))
            await connection.execute(f"DROP SCHEMA {schema} CASCADE")


async def _converges(
    pool: asyncpg.Pool[Any],
    connection: asyncpg.Connection[Any],
    schema: str,
    torment: Torment,
    wanted: Any,
    why: object,
) -> None:
    """One more run, while the backend of the dead one may still be at work, and everything is as it should be."""
    if torment.apply:
        await until_gone(connection, "victim")
        assert len(await history_of(connection, schema)) in (0, len(torment.files)), why
    await migrate(pool, schema, torment)
    await until_gone(connection, "victim")
    await check_equal(connection, schema, wanted, why)
    await connection.execute(f"DROP SCHEMA {schema} CASCADE")
