"""A plan does not report type changes that leave a table as it is: compared with what a server does."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

FAMILIES = [
    ("varchar", "varchar(20)", "varchar(40)", "text", "char(20)"),
    ("numeric", "numeric(8)", "numeric(8, 2)", "numeric(10, 2)", "numeric(10, 3)", "numeric(8, -2)", "numeric(9, -2)"),
    ("timestamp", "timestamp(0)", "timestamp(3)", "timestamp(6)", "timestamptz", "timestamptz(3)"),
    ("time", "time(2)", "time(4)", "timetz(2)", "timetz(4)"),
    ("varbit", "varbit(8)", "varbit(16)", "bit(8)"),
    ("integer", "bigint", "oid"),
    ("interval", "interval(2)", "interval(4)"),
]
CHANGES = [
    pair for family in FAMILIES for pair in product(family, family) if pair[1] != "text" or pair[0] == "varchar(20)"
]
# Free, and not recognized: their fields would have to be compared.
NOT_RECOGNIZED = {"interval"}


async def work_of(connection: Any, change: str) -> set[str]:
    """``rewriting`` and ``verifying``: what the server says that it does to tables."""
    said: list[str] = []
    connection.add_log_listener(lambda _, message: said.append(message.message))
    await connection.execute(f"SET client_min_messages = debug1; {change}; RESET client_min_messages")
    return {text.split()[0] for text in said if text.startswith(("rewriting table", "verifying table"))}


async def rules_of(db: AsyncDatabaseManager, change: str) -> set[str]:
    manager = AsyncMigrationManager(db, {"001_x.sql": change}, "m", snapshots=False)
    (planned,) = (await manager.plan(squawk=False)).pending
    assert planned.fix is None or any(one.rule == "PGDBM005" for one in planned.findings)
    return {one.rule for one in planned.findings}


@pytest.mark.parametrize(("old", "new"), CHANGES, ids=lambda one: one)
async def test_no_finding_means_no_work(
    db: AsyncDatabaseManager, connect: Callable[[], AbstractAsyncContextManager[Any]], old: str, new: str
) -> None:
    async with connect() as connection:
        await connection.execute(f"CREATE TABLE public.t (id int PRIMARY KEY, c {old}); CREATE INDEX ON public.t (c)")
        await connection.execute("INSERT INTO public.t VALUES (1, NULL); ANALYZE public.t")
        change = f"ALTER TABLE public.t ALTER c TYPE {new}"
        found = "PGDBM005" in await rules_of(db, change)
        if {old.partition("(")[0], new.partition("(")[0]} == {"timestamp", "timestamptz"}:
            # Only where the session's TimeZone is UTC.
            await connection.execute("SET timezone = 'Europe/Berlin'")
        try:
            works = bool(await work_of(connection, change))
        except asyncpg.DatatypeMismatchError:
            # It needs USING.
            return
    if (old, new) == ("char(20)", "varchar"):
        # The rule exempts every change to it, as it knows nothing of the previous type.
        assert works
    elif old.partition("(")[0] in NOT_RECOGNIZED or {old, new} & {"bigint", "oid"}:
        assert found or not works
    else:
        assert found == works


@pytest.mark.parametrize(
    ("used", "works"),
    [
        ("CREATE INDEX ON public.t (c)", False),
        ("CREATE UNIQUE INDEX ON public.t (c)", False),
        ("CREATE INDEX ON public.t (id) WHERE c IS NULL", True),
        ("CREATE INDEX ON public.t (lower(c))", True),
        ("ALTER TABLE public.t ADD CHECK (c <> 'y')", True),
        ("ALTER TABLE public.t ADD CHECK (id > 0)", False),
    ],
)
async def test_what_uses_the_column_can_need_work(
    db: AsyncDatabaseManager, connect: Callable[[], AbstractAsyncContextManager[Any]], used: str, works: bool
) -> None:
    async with connect() as connection:
        await connection.execute("CREATE TABLE public.t (id int PRIMARY KEY, c varchar(20))")
        await connection.execute(f"INSERT INTO public.t VALUES (1, 'x'); {used}; ANALYZE public.t")
        change = "ALTER TABLE public.t ALTER c TYPE varchar(40)"
        found = "PGDBM005" in await rules_of(db, change)
        indexes = "SELECT array_agg(pg_relation_filenode(indexrelid) ORDER BY indexrelid::regclass::text) FROM pg_index"
        of_table = f"{indexes} WHERE indrelid = 'public.t'::regclass"
        before = await connection.fetchval(of_table)
        done = bool(await work_of(connection, change)) or before != await connection.fetchval(of_table)
    assert (done, found) == (works, works)
