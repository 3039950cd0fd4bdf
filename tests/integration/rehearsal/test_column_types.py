"""A plan reports the type changes for which a server reads or writes the table: compared with a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    Connect = Callable[[], AbstractAsyncContextManager[Any]]

TYPES = (
    *("text", "varchar", "varchar(20)", "varchar(40)", "char(20)", "char(30)", "bpchar", "name", "text_domain"),
    *("smallint", "integer", "bigint", "oid", "float8", "money", "boolean", "int_domain"),
    *("numeric", "numeric(8)", "numeric(8, 2)", "numeric(10, 2)", "numeric(10, 3)", "numeric(8, -2)", "numeric(9, -2)"),
    *("timestamp", "timestamp(0)", "timestamp(3)", "timestamp(6)", "timestamptz", "timestamptz(3)", "date"),
    *("time", "time(2)", "time(4)", "timetz", "timetz(2)", "timetz(4)"),
    *("interval", "interval(2)", "interval(4)", "interval day to second"),
    *("bit(8)", "bit(9)", "varbit", "varbit(8)", "varbit(16)"),
    *("json", "jsonb", "xml", "uuid", "bytea", "inet", "cidr", "mood", "regclass"),
    *("text[]", "varchar(20)[]", "varchar(40)[]", "integer[]", "bigint[]", "int4range"),
)
# The server changes some of them for free, and a plan says that it may rewrite. They are rare: the plan reads neither
# pg_cast, nor what a domain is made of, nor which fields an interval has; and an index is built again for most.
UNRECOGNIZED = {"interval", "oid", "bpchar", "bit", "xml", "cidr", "mood", "regclass", "text_domain", "int_domain"}
CLOCKS = ("timestamp", "timestamptz")
SETUP = """
CREATE TYPE public.mood AS ENUM ('sad', 'glad');
CREATE DOMAIN public.int_domain AS integer CHECK (VALUE > 0);
CREATE DOMAIN public.text_domain AS text;
"""


async def work_of(connection: Any, change: str) -> set[str]:
    """``rewriting`` and ``verifying``: what the server says that it does to tables."""
    said: list[str] = []

    def listen(_: object, message: Any) -> None:
        said.append(message.message)

    connection.add_log_listener(listen)
    try:
        await connection.execute(f"SET client_min_messages = debug1; {change}; RESET client_min_messages")
    finally:
        connection.remove_log_listener(listen)
    return {text.split()[0] for text in said if text.startswith(("rewriting table", "verifying table"))}


async def reported(db: AsyncDatabaseManager, *changes: str) -> list[bool]:
    """For each of ``changes``, whether the plan reports it."""
    files = {f"{number:03}_x.sql": change for number, change in enumerate(changes, 1)}
    pending = (await AsyncMigrationManager(db, files, "m", snapshots=False).plan(squawk=False)).pending
    found = [any(one.rule == "PGDBM005" for one in planned.findings) for planned in pending]
    assert not any(planned.fix is not None and not has for planned, has in zip(pending, found, strict=True))
    return found


async def test_a_finding_means_work_and_none_means_none(db: AsyncDatabaseManager, connect: Connect) -> None:
    changes = [f"ALTER TABLE public.t ALTER c TYPE {new}" for new in TYPES]
    wrong = []
    async with connect() as connection:
        await connection.execute(SETUP)
        for old in TYPES:
            await connection.execute(f"DROP TABLE IF EXISTS public.t; CREATE TABLE public.t (id int, c {old})")
            await connection.execute("INSERT INTO public.t VALUES (1, NULL); ANALYZE public.t")
            found = await reported(db, *changes)
            for new, change, has_finding in zip(TYPES, changes, found, strict=True):
                works = await works_for(connection, old, new, change)
                if works is None or works == has_finding or (has_finding and is_unrecognized(old, new)):
                    continue
                wrong.append(f"{old} to {new}: {'work' if works else 'no work'}, finding: {has_finding}")
    assert not wrong, "\n".join(wrong)


async def works_for(connection: Any, old: str, new: str, change: str) -> bool | None:
    """Whether the server reads or writes the table for ``change``; None if that needs USING."""
    # From timestamp to timestamptz it is free only where the session's TimeZone is UTC.
    clocks = sorted(CLOCKS) == sorted({plain(old), plain(new)})
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(f"SET LOCAL timezone = '{'Europe/Berlin' if clocks else 'UTC'}'")
        return bool(await work_of(connection, change))
    except (asyncpg.DatatypeMismatchError, asyncpg.CannotCoerceError):
        return None
    finally:
        await transaction.rollback()


def plain(name: str) -> str:
    return name.partition("(")[0].partition(" ")[0]


def is_unrecognized(old: str, new: str) -> bool:
    return bool({plain(old), plain(new)} & UNRECOGNIZED) or (old == new and old.endswith("[]"))


@pytest.mark.parametrize(
    ("used", "new", "works"),
    [
        ("CREATE INDEX ON public.t (c)", "varchar(40)", False),
        ("CREATE INDEX ON public.t (c)", "text", False),
        ("CREATE INDEX ON public.t (c)", 'text COLLATE "C"', True),
        ("SELECT", 'text COLLATE "C"', False),
        ("CREATE UNIQUE INDEX ON public.t (c)", "varchar(40)", False),
        ("CREATE INDEX ON public.t (id) WHERE c IS NULL", "varchar(40)", True),
        ("CREATE INDEX ON public.t (lower(c))", "varchar(40)", True),
        ("CREATE INDEX ON public.t (lower(c))", "text", True),
        ("ALTER TABLE public.t ADD CHECK (c <> 'y')", "varchar(40)", True),
        ("ALTER TABLE public.t ADD CHECK (c <> 'y')", "text", True),
        ("ALTER TABLE public.t ADD CHECK (id > 0)", "varchar(40)", False),
        ("ALTER TABLE public.t ADD CHECK (id > 0)", "text", False),
    ],
)
async def test_what_uses_the_column_can_need_work(
    db: AsyncDatabaseManager, connect: Connect, used: str, new: str, works: bool
) -> None:
    async with connect() as connection:
        await connection.execute("CREATE TABLE public.t (id int PRIMARY KEY, c varchar(20))")
        await connection.execute(f"INSERT INTO public.t VALUES (1, 'x'); {used}; ANALYZE public.t")
        assert (await work_done(db, connection, f"ALTER TABLE public.t ALTER c TYPE {new}")) == (works, works)


@pytest.mark.parametrize("kind", ["partitioned", "inherited"])
@pytest.mark.parametrize(
    ("used", "new", "works"),
    [
        ("SELECT", "text", False),
        ("SELECT", "varchar(40)", False),
        ("SELECT", "bigint USING 1", True),
        ("CREATE INDEX ON public.part (id) WHERE c IS NULL", "text", True),
        ("ALTER TABLE public.part ADD CHECK (c <> 'y')", "text", True),
    ],
)
async def test_what_uses_the_column_in_a_table_below_counts(
    db: AsyncDatabaseManager, connect: Connect, kind: str, used: str, new: str, works: bool
) -> None:
    below, by = ("", "PARTITION BY LIST (id)") if kind == "partitioned" else ("INHERITS (public.t)", "")
    of = "PARTITION OF public.t DEFAULT" if kind == "partitioned" else f"() {below}"
    async with connect() as connection:
        await connection.execute(f"CREATE TABLE public.t (id int, c varchar(20)) {by}; CREATE TABLE public.part {of}")
        await connection.execute(f"INSERT INTO public.part VALUES (1, 'x'); {used}; ANALYZE")
        if kind == "inherited":
            await connection.execute("INSERT INTO public.t VALUES (2, 'x')")
        assert (await work_done(db, connection, f"ALTER TABLE public.t ALTER c TYPE {new}")) == (works, works)


async def test_a_column_that_an_earlier_file_adds_has_no_finding(db: AsyncDatabaseManager, connect: Connect) -> None:
    async with connect() as connection:
        await connection.execute("CREATE TABLE public.t AS SELECT 1 AS id; ANALYZE public.t")
    changes = "ALTER TABLE public.t ADD c varchar(20)", "ALTER TABLE public.t ALTER c TYPE text"
    assert await reported(db, *changes) == [False, False]


async def work_done(db: AsyncDatabaseManager, connection: Any, change: str) -> tuple[bool, bool]:
    """Whether the server reads or writes the table or an index for ``change``, and whether the plan reports it."""
    (found,) = await reported(db, change)
    files = "SELECT array_agg(pg_relation_filenode(oid) ORDER BY oid) FROM pg_class WHERE relnamespace = 2200"
    before = await connection.fetchval(files)
    done = bool(await work_of(connection, change)) or before != await connection.fetchval(files)
    return done, found
