"""Backfills whose runners are killed, frozen, cut off, or lose their server: each row is processed once.

A trigger counts how often each row was updated. The long setting kills 200 runners.
"""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

import pytest

from .cutting import CuttingProxy
from .effort import SEED, rounds, seeded_random
from .plans import MigrationPlan
from .states import check_clean, history_of, migrate, opened_pool, until_gone
from .test_crashes import crash, server
from .test_cuts import reported_applied
from .victims import victims

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    import asyncpg

    from pgdbm.embedded import EmbeddedPostgres

    from .cutting import Side

    Connect = Callable[[], AbstractAsyncContextManager[asyncpg.Connection[Any]]]

__all__ = ["server"]

ROWS = 300
_TABLE = f"""
CREATE TABLE {{{{tables.orders}}}} (tenant int, id uuid, total int, cents int, touched int NOT NULL DEFAULT 0);
INSERT INTO {{{{tables.orders}}}} (tenant, id, total)
SELECT n % 7, md5(n::text)::uuid, n FROM generate_series(1, {ROWS}) AS n;
ALTER TABLE {{{{tables.orders}}}} ADD PRIMARY KEY (tenant, id);
CREATE FUNCTION {{{{schema}}}}.count_touches() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.touched := OLD.touched + 1;
    RETURN NEW;
END $$;
CREATE TRIGGER count_touches BEFORE UPDATE ON {{{{tables.orders}}}}
    FOR EACH ROW EXECUTE FUNCTION {{{{schema}}}}.count_touches();
"""
_BACKFILL = """
-- pgdbm:backfill table={{tables.orders}} key=tenant,id batch=10 target=5ms
UPDATE {{tables.orders}} SET cents = total * 100 WHERE (tenant, id) BETWEEN $from AND $to;
"""
BACKFILL = MigrationPlan("backfill", {"001_orders.sql": _TABLE, "012_backfill.sql": _BACKFILL})
TABLE = MigrationPlan("table", {"001_orders.sql": _TABLE})


async def check_each_row_once(connection: Any, schema: str, why: object) -> None:
    found = await connection.fetch(
        f"SELECT touched, cents IS NOT DISTINCT FROM total * 100 AS filled, count(*) FROM {schema}.orders GROUP BY 1, 2"
    )
    assert [tuple(row) for row in found] == [(1, True, ROWS)], why
    walked = await connection.fetchrow(f"SELECT walked_rows, changed_rows FROM {schema}.pgdbm_backfills")
    assert tuple(walked) == (ROWS, ROWS), why
    assert await history_of(connection, schema) == list(BACKFILL.files), why
    await check_clean(connection, why)


@pytest.mark.slow
async def test_a_backfill_killed_at_any_time_processes_each_row_once(database: str, connect: Connect) -> None:
    chance = seeded_random("backfill kills")
    left = rounds(20, 200)
    number = 0
    async with opened_pool(database) as pool, victims(database) as killed, connect() as connection:
        await migrate(pool, "timed", TABLE)
        (timed,) = await killed.migrate("timed", BACKFILL)
        seconds = timed["result"]["total_time_ms"] / 1000
        while left > 0:
            number += 1
            schema = f"kill_{number}"
            await migrate(pool, schema, TABLE)
            has_ended = False
            while not has_ended and left > 0:
                left -= 1
                after = chance.uniform(0, seconds)
                (answer,) = await killed.migrate(schema, BACKFILL, kill_after_s=after)
                await until_gone(connection, "victim")
                has_ended = "012_backfill.sql" in await history_of(connection, schema)
                if "result" in answer:
                    # The first run may have been slow because of other work on the machine.
                    seconds = answer["result"]["total_time_ms"] / 1000
            await migrate(pool, schema, BACKFILL)
            await check_each_row_once(connection, schema, f"seed {SEED}, schema {number}")
            await connection.execute(f"DROP SCHEMA {schema} CASCADE")


async def test_a_backfill_killed_between_its_batches_processes_each_row_once(database: str, connect: Connect) -> None:
    """It is killed while it waits for a row in the middle of the table."""
    async with opened_pool(database) as pool, victims(database) as killed, connect() as connection:
        await migrate(pool, "waiting", TABLE)
        after = 0.5
        while not await _is_within(connection, "waiting"):
            async with pool.acquire() as holder, holder.transaction():
                await holder.execute("SELECT FROM waiting.orders WHERE tenant = 3 FOR UPDATE")
                (answer,) = await killed.migrate("waiting", BACKFILL, kill_after_s=after)
            assert answer["signal"] == signal.SIGKILL
            await until_gone(connection, "victim")
            # On a busy machine it may not have come to its first batch.
            after *= 2
        await migrate(pool, "waiting", BACKFILL)
        await check_each_row_once(connection, "waiting", answer)


async def test_a_backfill_killed_at_any_boundary_processes_each_row_once(database: str, connect: Connect) -> None:
    """At each start and end of a file, a statement or a wait: it kills itself when it reports that."""
    chance = seeded_random("backfill boundaries")
    async with opened_pool(database) as pool, victims(database) as killed, connect() as connection:
        await migrate(pool, "counted", TABLE)
        (whole,) = await killed.migrate("counted", BACKFILL, listens=True, every_event=True)
        boundaries = list(range(1, len(whole["events"]) + 1))
        chosen = (
            boundaries if len(boundaries) <= rounds(4, 1000) else sorted(chance.sample(boundaries, rounds(4, 1000)))
        )
        for boundary in chosen:
            schema, why = f"boundary_{boundary}", f"seed {SEED}, event {boundary} of {whole['events']}"
            await migrate(pool, schema, TABLE)
            (answer,) = await killed.migrate(schema, BACKFILL, listens=True, every_event=True, kill_at_event=boundary)
            # A slower batch may have made fewer events.
            assert answer["signal"] == signal.SIGKILL or boundary > len(answer["events"]), (why, answer)
            await until_gone(connection, "victim")
            await migrate(pool, schema, BACKFILL)
            await check_each_row_once(connection, schema, why)
            await connection.execute(f"DROP SCHEMA {schema} CASCADE")


async def test_two_runners_of_a_backfill_process_each_row_once(database: str, connect: Connect) -> None:
    async with opened_pool(database) as pool, victims(database) as racers, connect() as connection:
        for number in range(rounds(2, 40)):
            schema = f"race_{number}"
            await migrate(pool, schema, TABLE)
            answers = await racers.migrate(schema, BACKFILL, runners=2, listens=number % 2 == 1)
            applied = [one["filename"] for answer in answers for one in answer["result"]["applied"]]
            assert applied == ["012_backfill.sql"], answers
            await check_each_row_once(connection, schema, number)


async def test_a_runner_that_was_frozen_does_nothing_again(database: str, connect: Connect) -> None:
    """The server has ended its session, and another runner has taken over."""
    chance = seeded_random("frozen backfills")
    async with opened_pool(database) as pool, victims(database) as frozen, connect() as connection:
        for number in range(rounds(3, 40)):
            schema, why = f"frozen_{number}", f"seed {SEED}, round {number}"
            await migrate(pool, schema, TABLE)
            await frozen.send(schema, BACKFILL, freeze_after_s=chance.uniform(0.02, 0.3))
            assert await frozen.line() == "frozen"
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name = 'victim'"
            )
            await until_gone(connection, "victim")
            await migrate(pool, schema, BACKFILL)
            await frozen.wake()
            (answer,) = await frozen.answers()
            assert answer["signal"] is None, why
            await until_gone(connection, "victim")
            await check_each_row_once(connection, schema, (why, answer))


async def test_a_connection_cut_at_any_message_of_a_backfill_repeats_nothing(database: str, connect: Connect) -> None:
    chance = seeded_random("backfill cuts")
    sides: tuple[Side, ...] = ("before", "after")
    async with opened_pool(database) as pool, CuttingProxy(database) as proxy, connect() as connection:
        await migrate(pool, "counted", TABLE)
        async with opened_pool(proxy.dsn, "victim") as victim:
            proxy.arm(None)
            await migrate(victim, "counted", BACKFILL)
        messages = proxy.messages
        # In the long form before and after each, which are more than a hundred; in the short form some.
        cuts = [(at, side) for at in range(1, messages + 1) for side in sides]
        for number, (cut_at, side) in enumerate(chance.sample(cuts, min(rounds(4, 500), len(cuts)))):
            schema, why = f"cut_{number}", f"seed {SEED}, {side} message {cut_at} of {messages}"
            await migrate(pool, schema, TABLE)
            async with opened_pool(proxy.dsn, "victim") as victim:
                proxy.arm(cut_at, side)
                reported = await reported_applied(migrate(victim, schema, BACKFILL))
                assert set(reported) <= set(await history_of(connection, schema)), why
            proxy.arm(None)
            await until_gone(connection, "victim")
            await migrate(pool, schema, BACKFILL)
            await check_each_row_once(connection, schema, why)
            await connection.execute(f"DROP SCHEMA {schema} CASCADE")


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGKILL], ids=["SIGQUIT", "SIGKILL"])
async def test_a_server_that_crashes_loses_rows_and_position_together(
    server: EmbeddedPostgres, number: signal.Signals
) -> None:
    """Batches do not wait for the disk."""
    chance = seeded_random(f"backfill crashes {number}")
    dsn = server.dsn()
    async with victims(dsn) as crashed:
        for turn in range(rounds(2, 40)):
            schema, after = f"crash_{turn}", chance.uniform(0.05, 0.6)
            async with opened_pool(dsn) as pool:
                await migrate(pool, schema, TABLE)
            await crashed.send(schema, BACKFILL)
            await asyncio.sleep(after)
            await asyncio.to_thread(crash, server, number)
            (answer,) = await crashed.answers()
            async with opened_pool(dsn) as pool, pool.acquire() as connection:
                await migrate(pool, schema, BACKFILL)
                why = f"seed {SEED}, after {after:.4f} s: {answer}"
                await check_each_row_once(connection, schema, why)


async def _is_within(connection: Any, schema: str) -> bool:
    """Whether a batch has run, and not all of them."""
    if await connection.fetchval(f"SELECT to_regclass('{schema}.pgdbm_backfills') IS NULL"):
        return False
    query = f"SELECT count(*) FROM {schema}.pgdbm_backfills WHERE position IS NOT NULL AND ended_at IS NULL"
    return bool(await connection.fetchval(query))
