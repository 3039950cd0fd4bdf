"""The connections of a pool can share the descriptions of the types of the database."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from pgdbm import AsyncDatabaseManager, DatabaseConfig
from pgdbm.core import type_introspection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_TYPES = """
CREATE SCHEMA app;
CREATE TYPE app.mood AS ENUM ('sad', 'glad');
CREATE DOMAIN app.positive AS integer CHECK (VALUE > 0);
CREATE TYPE app.place AS (x integer, y integer)
"""
_VALUES = [
    ("SELECT 'glad'::app.mood", "glad"),
    ("SELECT ARRAY['glad', 'sad']::app.mood[]", ["glad", "sad"]),
    ("SELECT ARRAY[1, 2]::app.positive[]", [1, 2]),
    ("SELECT ARRAY['1 s', '2 s']::interval[] = ARRAY['1 s'::interval, '2 s']", True),
    ("SELECT ARRAY[1, 2]::bigint[]", [1, 2]),
    ("SELECT ROW(1, 2)::app.place", (1, 2)),
]


@asynccontextmanager
async def _two(dsn: str, *, shared: bool = True, **settings: Any) -> AsyncIterator[tuple[Any, Any, list[str]]]:
    """Two connections of a pool, and what the second one sends."""
    config = DatabaseConfig(connection_string=dsn, min_connections=2, max_connections=2, **settings)
    pool = await AsyncDatabaseManager.create_shared_pool(config)
    if shared:
        pool.share_types()
    sent: list[str] = []
    try:
        async with pool.acquire() as first, pool.acquire() as second:
            await first.execute(_TYPES)
            second.add_query_logger(lambda query: sent.append(query.query))
            yield first, second, sent
    finally:
        await pool.close()


async def _asked(sent: list[str]) -> bool:
    # asyncpg calls loggers a little later.
    await asyncio.sleep(0)
    assert sent
    return any("typeinfo" in query for query in sent)


@pytest.mark.parametrize(("query", "value"), _VALUES[:-1])
async def test_a_type_is_asked_for_once_per_pool(database: str, query: str, value: object) -> None:
    async with _two(database) as (first, second, sent):
        assert await first.fetchval(query) == value
        assert await second.fetchval(query) == value
        assert not await _asked(sent)


async def test_types_that_were_asked_for_together_are_known_one_by_one(database: str) -> None:
    together = "SELECT ARRAY['glad']::app.mood[], ARRAY[1]::bigint[], ARRAY[1]::app.positive[], 'sad'::app.mood"
    async with _two(database) as (first, second, sent):
        assert tuple(await first.fetchrow(together)) == (["glad"], [1], [1], "sad")
        for query, value in reversed(_VALUES[:3]):
            assert await second.fetchval(query) == value
        assert tuple(await second.fetchrow(together)) == (["glad"], [1], [1], "sad")
        assert not await _asked(sent)


@pytest.mark.parametrize("settings", [{"statement_cache_size": 0}, {"transaction_search_path": "app"}])
async def test_without_a_cache_of_statements_and_with_a_search_path(database: str, settings: dict[str, Any]) -> None:
    if "transaction_search_path" in settings:
        settings = settings | {"shared_pool_search_path": None}
    async with _two(database, **settings) as (first, second, sent):
        for connection in (first, second):
            for query, value in _VALUES:
                assert await connection.fetchval(query) == value
        assert await _asked(sent)


async def test_a_composite_type_is_asked_for_on_each_connection(database: str) -> None:
    """It can be changed: a new connection has to see that."""
    async with _two(database) as (first, second, sent):
        assert await first.fetchval("SELECT ROW(1, 2)::app.place") == (1, 2)
        await first.execute("ALTER TYPE app.place ADD ATTRIBUTE z integer")
        assert await second.fetchval("SELECT ROW(1, 2, 3)::app.place") == (1, 2, 3)
        assert await _asked(sent)


async def test_a_type_that_was_created_again_is_asked_for(database: str) -> None:
    async with _two(database) as (first, second, sent):
        assert await first.fetchval("SELECT 'glad'::app.mood") == "glad"
        await first.execute("DROP TYPE app.mood; CREATE TYPE app.mood AS (glad integer)")
        assert await second.fetchval("SELECT ROW(1)::app.mood") == (1,)
        assert await _asked(sent)


async def _with_another_signature(self: object, typeoids: object) -> None:
    """As a later asyncpg may have it."""


def _not_a_coroutine(self: object, typeoids: object, timeout: object) -> None:
    """As a later asyncpg may have it."""


async def test_the_installed_asyncpg_is_as_expected() -> None:
    """If this fails, asyncpg describes types in another way: see type_introspection.py."""
    assert type_introspection.CAN_SHARE_TYPES


@pytest.mark.parametrize("method", [None, _with_another_signature, _not_a_coroutine])
async def test_with_another_asyncpg_each_connection_asks(
    database: str, monkeypatch: pytest.MonkeyPatch, method: object
) -> None:
    changed = type("Connection", (asyncpg.Connection,), {"_introspect_types": method, "__slots__": ()})
    assert not type_introspection._introspects_as_expected(changed)
    assert not type_introspection._introspects_as_expected(object)
    monkeypatch.setattr(type_introspection, "CAN_SHARE_TYPES", False)
    async with _two(database) as (first, second, sent):
        for query, value in _VALUES:
            assert await first.fetchval(query) == value
            assert await second.fetchval(query) == value
        assert await _asked(sent)


async def test_pools_share_nothing_by_default(database: str) -> None:
    """An application's pool may be connected to another database after a restore, where an oid is another type."""
    async with _two(database, shared=False) as (first, second, sent):
        assert await first.fetchval("SELECT 'glad'::app.mood") == "glad"
        assert await second.fetchval("SELECT 'glad'::app.mood") == "glad"
        assert await _asked(sent)


async def test_types_are_asked_for_again_in_another_database(database: str) -> None:
    config = DatabaseConfig(connection_string=database, min_connections=1, max_connections=1)
    pool = await AsyncDatabaseManager.create_shared_pool(config)
    other = await AsyncDatabaseManager.create_shared_pool(config)
    try:
        pool.share_types()
        await other.execute(_TYPES)
        assert await pool.fetchval("SELECT 'glad'::app.mood") == "glad"
        known = pool._connection_type.shared_types
        pool.share_types()
        assert known
        assert pool._connection_type.shared_types == {}
        assert other._connection_type.shared_types is None
    finally:
        await pool.close()
        await other.close()
