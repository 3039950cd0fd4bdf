"""Random plans, applied with disturbances, leave the same state as their statements run one by one."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import hypothesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgdbm.core.templating import render
from pgdbm.migrations.state.changes import difference

from .effort import SEED, rounds
from .grammar import RandomPlan, random_plans
from .plans import MigrationPlan
from .states import check_clean, migrate, opened_pool, read_state, until_gone
from .victims import victims

if TYPE_CHECKING:
    import asyncpg

    from .victims import Victims

_TERMINATE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'victim'
"""
_DISTURBANCES = st.lists(
    st.one_of(
        st.tuples(st.just("killed at event"), st.integers(1, 60)),
        st.tuples(st.just("killed after ms"), st.integers(0, 60)),
        st.tuples(st.just("terminated after ms"), st.integers(0, 60)),
        st.tuples(st.just("up to file"), st.integers(1, 8)),
        st.tuples(st.just("concurrent runners"), st.integers(2, 3)),
    ),
    max_size=3,
)


class Scenario:
    """A database in which plans are applied, in a schema that is new each time."""

    def __init__(self, pool: asyncpg.Pool[Any], disturbed: Victims, connection: Any) -> None:
        self._pool = pool
        self._victims = disturbed
        self._connection = connection

    async def compare(self, random_plan: RandomPlan, disturbances: list[tuple[str, int]]) -> None:
        await self._connection.execute("DROP SCHEMA IF EXISTS plain, disturbed CASCADE; CREATE SCHEMA plain")
        for statement in random_plan.statements:
            await self._connection.execute(render(statement, "plain").text)
        plan = MigrationPlan("random", random_plan.files)
        for how, amount in disturbances:
            await self._disturb(plan, how, amount)
        await migrate(self._pool, "disturbed", plan)
        await until_gone(self._connection, "victim")
        wanted, state = [await read_state(self._connection, schema, history=False) for schema in ("plain", "disturbed")]
        assert not difference(wanted.catalog, state.catalog)
        assert state.data == wanted.data
        await check_clean(self._connection, disturbances)

    async def _disturb(self, plan: MigrationPlan, how: str, amount: int) -> None:
        match how:
            case "killed at event":
                await self._victims.migrate("disturbed", plan, listens=True, kill_at_event=amount)
            case "killed after ms":
                await self._victims.migrate("disturbed", plan, kill_after_s=amount / 1000)
            case "terminated after ms":
                await self._victims.send("disturbed", plan)
                await asyncio.sleep(amount / 1000)
                await self._connection.execute(_TERMINATE)
                (answer,) = await self._victims.answers()
                assert answer.get("error") in (None, "ConnectionError", "InternalClientError"), answer
            case "up to file":
                target = f"{min(amount, len(plan.files))}_x.sql"
                await migrate(self._pool, "disturbed", MigrationPlan("random", plan.files, {"target": target}))
            case "concurrent runners":
                answers = await self._victims.migrate("disturbed", plan, runners=amount)
                assert all("result" in answer for answer in answers), answers


async def scenario(stack: AsyncExitStack, dsn: str) -> Scenario:
    pool = await stack.enter_async_context(opened_pool(dsn))
    disturbed = await stack.enter_async_context(victims(dsn))
    return Scenario(pool, disturbed, await stack.enter_async_context(pool.acquire()))


def test_random_plans_leave_the_state_of_their_statements(database: str) -> None:
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        where = runner.run(scenario(stack, database))
        try:

            @hypothesis.seed(SEED)
            @settings(
                max_examples=rounds(15, 400),
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
                print_blob=True,
            )
            @given(plan=random_plans(), disturbances=_DISTURBANCES)
            def compare(plan: RandomPlan, disturbances: list[tuple[str, int]]) -> None:
                runner.run(where.compare(plan, disturbances))

            compare()
        finally:
            runner.run(stack.aclose())
