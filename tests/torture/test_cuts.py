"""Connections cut at every message of the protocol: the run reports what was applied, and the next one succeeds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

import pgdbm

from .cutting import CuttingProxy
from .effort import SEED, rounds, seeded_random
from .plans import ALL, ALL_BATCHABLE, BATCHABLE, MIXED, MigrationPlan
from .states import check_equal, history_of, migrate, opened_pool, undisturbed, until_gone

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    import asyncpg

    from .cutting import Side

    Connect = Callable[[], AbstractAsyncContextManager[asyncpg.Connection[Any]]]

SIDES: tuple[Side, ...] = ("before", "after")


@pytest.mark.parametrize("listens", [False, True], ids=["without a listener", "with a listener"])
@pytest.mark.parametrize(
    ("plan", "quick", "long"),
    [(MIXED, 4, 100), (BATCHABLE, 3, 30), (ALL, 2, 30), (ALL_BATCHABLE, 2, 20)],
    ids=lambda x: getattr(x, "name", ""),
)
async def test_a_connection_cut_at_any_message_loses_nothing(
    database: str, connect: Connect, plan: MigrationPlan, quick: int, long: int, listens: bool
) -> None:
    rng = seeded_random(f"cuts {plan.name} {listens}")
    options: dict[str, Any] = {"on_event": lambda event: None} if listens else {}
    async with opened_pool(database) as pool, CuttingProxy(database) as proxy, connect() as connection:
        wanted = await undisturbed(pool, plan)
        async with opened_pool(proxy.dsn, "victim") as victim:
            proxy.arm(None)
            await migrate(victim, "counted", plan, **options)
        messages = proxy.messages
        for number in range(rounds(quick, long)):
            cut_at, side = rng.randint(1, messages), rng.choice(SIDES)
            schema, why = f"cut_{number}", f"seed {SEED}, {side} message {cut_at} of {messages}"
            proxy.arm(None)
            async with opened_pool(proxy.dsn, "victim") as victim:
                proxy.arm(cut_at, side)
                applied = await reported_applied(migrate(victim, schema, plan, **options))
                said = await history_of(connection, schema)
            assert said == applied, why
            await until_gone(connection, "victim")
            assert await history_of(connection, schema) == said, why
            await migrate(pool, schema, plan)
            await check_equal(connection, schema, wanted, why)
            await connection.execute(f"DROP SCHEMA {schema} CASCADE")


@pytest.mark.parametrize(
    ("plan", "quick", "long"),
    [(MIXED, 8, 150), (BATCHABLE, 3, 30), (ALL, 2, 20)],
    ids=lambda x: getattr(x, "name", ""),
)
async def test_a_backend_terminated_at_any_time_loses_nothing(
    database: str, connect: Connect, plan: MigrationPlan, quick: int, long: int
) -> None:
    rng = seeded_random(f"terminations {plan.name}")
    async with opened_pool(database) as pool, opened_pool(database, "victim") as victim, connect() as connection:
        wanted = await undisturbed(pool, plan)
        seconds = (await migrate(victim, "timed", plan))["total_time_ms"] / 1000
        for number in range(rounds(quick, long)):
            after = rng.uniform(0, seconds)
            schema, why = f"end_{number}", f"seed {SEED}, after {after:.4f} s of {seconds:.4f} s"
            run = asyncio.create_task(reported_applied(migrate(victim, schema, plan)))
            await asyncio.sleep(after)
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name = 'victim'"
            )
            applied = await run
            assert await history_of(connection, schema) == applied, why
            await migrate(pool, schema, plan)
            await check_equal(connection, schema, wanted, why)
            await connection.execute(f"DROP SCHEMA {schema} CASCADE")


async def reported_applied(run: Awaitable[dict[str, Any]]) -> list[str]:
    """What ``run`` reports as applied: its result, or the details of the error of the lost connection."""
    try:
        return [one["filename"] for one in (await run)["applied"]]
    except pgdbm.ConnectionError as error:
        applied: list[str] = error.details["applied"]
        return applied
