"""Eight concurrent processes, over every kind of plan: each migration is applied by one of them, and all return."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from .effort import rounds
from .plans import EVERY_KIND
from .states import check_equal, opened_pool, undisturbed
from .victims import victims

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    import asyncpg

    Connect = Callable[[], AbstractAsyncContextManager[asyncpg.Connection[Any]]]

_RUNNERS = 8


async def test_each_migration_is_applied_by_one_of_eight(database: str, connect: Connect) -> None:
    wanted = {}
    async with opened_pool(database) as pool, victims(database) as racers, connect() as connection:
        for number in range(rounds(len(EVERY_KIND), 100 * len(EVERY_KIND))):
            plan = EVERY_KIND[number % len(EVERY_KIND)]
            if plan.name not in wanted:
                wanted[plan.name] = await undisturbed(pool, plan)
            schema, listens = f"race_{number}", number // len(EVERY_KIND) % 2 == 1
            answers = await racers.migrate(schema, plan, runners=_RUNNERS, listens=listens)
            assert all("result" in answer for answer in answers), answers
            applied = Counter(one["filename"] for answer in answers for one in answer["result"]["applied"])
            assert applied == dict.fromkeys(plan.files, 1), (plan.name, number)
            await check_equal(connection, schema, wanted[plan.name], (plan.name, number))
            await connection.execute(f"DROP SCHEMA {schema} CASCADE")
