"""Runners that are killed with SIGKILL at any point: the next run completes what is missing.

The long setting kills more than 500 of them: at every boundary of statements, at some twice, and in between.
"""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from .effort import SEED, rounds, seeded_random
from .plans import ALL, ALL_BATCHABLE, APPLIED_AND_REVERTED, BATCHABLE, MIXED, MigrationPlan
from .states import check_equal, history_of, migrate, opened_pool, read_state, revert, undisturbed, until_gone
from .victims import victims

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    import asyncpg

    Connect = Callable[[], AbstractAsyncContextManager[asyncpg.Connection[Any]]]


@pytest.mark.parametrize(
    ("plan", "quick", "long"), [(MIXED, 7, 150), (ALL, 3, 60)], ids=lambda x: getattr(x, "name", "")
)
async def test_a_runner_killed_between_statements_loses_nothing(
    database: str, connect: Connect, plan: MigrationPlan, quick: int, long: int
) -> None:
    rng = seeded_random(f"boundaries {plan.name}")
    async with opened_pool(database) as pool, victims(database) as killed, connect() as connection:
        wanted = await undisturbed(pool, plan)
        (whole,) = await killed.migrate("counted", plan, listens=True)
        boundaries = list(range(1, len(whole["events"]) + 1))
        count = rounds(quick, long)
        chosen = rng.sample(boundaries, count) if count < len(boundaries) else boundaries
        chosen += rng.choices(boundaries, k=count - len(chosen))
        for number, boundary in enumerate(chosen):
            schema, why = f"kill_{number}", f"seed {SEED}, event {boundary}: {whole['events'][boundary - 1]}"
            (answer,) = await killed.migrate(schema, plan, listens=True, kill_at_event=boundary)
            assert answer["signal"] == signal.SIGKILL, why
            await _converges(pool, connection, schema, plan, wanted, why)


@pytest.mark.parametrize(
    ("plan", "quick", "long"),
    [(MIXED, 8, 200), (BATCHABLE, 4, 60), (ALL, 2, 20), (ALL_BATCHABLE, 2, 30)],
    ids=lambda x: getattr(x, "name", ""),
)
async def test_a_runner_killed_at_any_time_loses_nothing(
    database: str, connect: Connect, plan: MigrationPlan, quick: int, long: int
) -> None:
    rng = seeded_random(f"times {plan.name}")
    async with opened_pool(database) as pool, victims(database) as killed, connect() as connection:
        wanted = await undisturbed(pool, plan)
        (whole,) = await killed.migrate("timed", plan)
        seconds = whole["result"]["total_time_ms"] / 1000
        for number in range(rounds(quick, long)):
            after = rng.uniform(0, seconds * 1.1)
            schema, why = f"kill_{number}", f"seed {SEED}, after {after:.4f} s of {seconds:.4f} s"
            (answer,) = await killed.migrate(schema, plan, kill_after_s=after)
            await _converges(pool, connection, schema, plan, wanted, (why, answer.get("error")))


async def test_a_runner_killed_during_a_revert_loses_nothing(database: str, connect: Connect) -> None:
    """Each statement of each down migration is done once, whichever process died."""
    steps = sum(name.endswith(".down.sql") for name in APPLIED_AND_REVERTED.files)
    rng = seeded_random("during a revert")
    async with opened_pool(database) as pool, victims(database) as killed, connect() as connection:
        await migrate(pool, "undisturbed", APPLIED_AND_REVERTED)
        began = time.monotonic()
        await revert(pool, "undisturbed", APPLIED_AND_REVERTED, steps)
        seconds = time.monotonic() - began
        wanted = await read_state(connection, "undisturbed")
        for number in range(rounds(5, 80)):
            after = rng.uniform(0, seconds * 1.1)
            schema, why = f"back_{number}", f"seed {SEED}, after {after:.4f} s of {seconds:.4f} s"
            await migrate(pool, schema, APPLIED_AND_REVERTED)
            (answer,) = await killed.migrate(schema, APPLIED_AND_REVERTED, revert=steps, kill_after_s=after)
            await until_gone(connection, "victim")
            left = len(await history_of(connection, schema)) - (len(APPLIED_AND_REVERTED.files) - 2 * steps)
            if left:
                await revert(pool, schema, APPLIED_AND_REVERTED, left)
            await check_equal(connection, schema, wanted, (why, left, answer.get("error")))
            await connection.execute(f"DROP SCHEMA {schema} CASCADE")


async def _converges(
    pool: asyncpg.Pool[Any],
    connection: asyncpg.Connection[Any],
    schema: str,
    plan: MigrationPlan,
    wanted: Any,
    why: object,
) -> None:
    """One more run, while the backend of the dead one may still be at work, and the state is complete."""
    if plan.apply:
        await until_gone(connection, "victim")
        assert len(await history_of(connection, schema)) in (0, len(plan.files)), why
    await migrate(pool, schema, plan)
    await until_gone(connection, "victim")
    await check_equal(connection, schema, wanted, why)
    await connection.execute(f"DROP SCHEMA {schema} CASCADE")
