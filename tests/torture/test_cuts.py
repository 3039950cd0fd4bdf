"""Connections that are cut at every message of the protocol: the run says what is true, and the next one goes on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

import pgdbm

from .cutting import CuttingProxy
from .effort import SEED, dice, rounds
from .plans import ALL, ALL_CHEAP, CHEAP, MIXED, Torment
from .states import check_equal, history_of, migrate, opened_pool, undisturbed, until_gone

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    import asyncpg

    from .cutting import Side

    Connect = Callable[[], AbstractAsyncContextManager[asyncpg.Connection[Any]]]

SIDES: tuple[Side, ...] = ("before", "after")


@pytest.mark.parametrize("listens", [False, True], ids=["unheard", "heard"])
@pytest.mark.parametrize(
    ("torment", "quick", "long"),
    [(MIXED, 4, 100), (CHEAP, 3, 30), (ALL, 2, 30), (ALL_CHEAP, 2, 20)],
    ids=lambda x: getattr(x, "name", ""),
)
async def test_at_every_message(
    database: str, connect: Connect, torment: Torment, quick: int, long: int, listens: bool
) -> None:
    chance = dice(f"cuts {torment.name} {listens}")
    options: dict[str, Any] = {"on_event": lambda event: None} if listens else {}
    async with opened_pool(database) as pool, CuttingProxy(database) as proxy, connect() as connection:
        wanted = await undisturbed(pool, torment)
        async with opened_pool(proxy.dsn, "victim") as victim:
            proxy.arm(None)
            await migrate(victim, "counted", torment, **options)
        messages = proxy.messages
        for number in range(rounds(quick, long)):
            cut_at, side = chance.randint(1, messages), chance.choice(SIDES)
            schema, why = f"cut_{number}", f"seed {SEED}, {side} message {cut_at} of {messages}"
            proxy.arm(None)
            async with opened_pool(proxy.dsn, "victim") as victim:
                proxy.arm(cut_at, side)
                applied = await truth(migrate(victim, schema, torment, **options))
                said = await history_of(connection, schema)
            assert said == applied, why
            await until_gone(connection, "victim")
            assert await history_of(connection, schema) == said, why
            await migrate(pool, schema, torment)
            await check_equal(connection, schema, wanted, why)
            await connection.execute(f"DROP SCHEMA {schema} CASCADE")


@pytest.mark.parametrize(
    ("torment", "quick", "long"),
    [(MIXED, 8, 150), (CHEAP, 3, 30), (ALL, 2, 20)],
    ids=lambda x: getattr(x, "name", ""),
)
async def test_backends_that_are_terminated_at_any_time(
    database: str, connect: Connect, torment: Torment, quick: int, long: int
) -> None:
    chance = dice(f"terminations {torment.name}")
    async with opened_pool(database) as pool, opened_pool(database, "victim") as victim, connect() as connection:
        wanted = await undisturbed(pool, torment)
        seconds = (await migrate(victim, "timed", torment))["total_time_ms"] / 1000
        for number in range(rounds(quick, long)):
            after = chance.uniform(0, seconds)
            schema, why = f"end_{number}", f"seed {SEED}, after {after:.4f} s of {seconds:.4f} s"
            run = asyncio.create_task(truth(migrate(victim, schema, torment)))
            await asyncio.sleep(after)
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name = 'victim'"
            )
            applied = await run
            assert await history_of(connection, schema) == applied, why
            await migrate(pool, schema, torment)
            await check_equal(connection, schema, wanted, why)
            await connection.execute(f"DROP SCHEMA {schema} CASCADE")


async def truth(run: Awaitable[dict[str, Any]]) -> list[str]:
    """What ``run`` says is applied: it succeeds, or says what it did before it lost the connection."""
    try:
        return [one["filename"] for one in (await run)["applied"]]
    except pgdbm.ConnectionError as error:
        applied: list[str] = error.details["applied"]
        return applied
