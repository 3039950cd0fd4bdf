"""SchemaManager: schemas that are created and dropped at run time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from pgdbm import AsyncDatabaseManager, DatabaseConfig, QueryError, SchemaError, SchemaManager

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager


@pytest.fixture
def schemas(db: AsyncDatabaseManager) -> SchemaManager:
    """The schemas of a fresh database."""
    return SchemaManager(db)


async def test_a_schema_is_created_found_and_dropped(schemas: SchemaManager) -> None:
    assert not await schemas.schema_exists("tenant")
    await schemas.create_schema("tenant")
    await schemas.create_schema("tenant")
    assert await schemas.schema_exists("tenant")
    await schemas.drop_schema("tenant")
    assert not await schemas.schema_exists("tenant")
    await schemas.drop_schema("tenant")


async def test_the_list_is_sorted_and_has_no_system_schemas(schemas: SchemaManager) -> None:
    assert await schemas.list_schemas() == ["public"]
    for name in ("zebra", "Apple", "_x", "pgx"):
        await schemas.create_schema(name)
    assert await schemas.list_schemas() == sorted(["public", "zebra", "Apple", "_x", "pgx"])


async def test_names_keep_their_case(schemas: SchemaManager) -> None:
    await schemas.create_schema("Tenant")
    assert await schemas.schema_exists("Tenant")
    assert not await schemas.schema_exists("tenant")
    await schemas.drop_schema("tenant", cascade=True)
    assert await schemas.schema_exists("Tenant")


async def test_dropping_a_schema_with_objects_needs_cascade(schemas: SchemaManager, db: AsyncDatabaseManager) -> None:
    await schemas.create_schema("app")
    await db.execute("CREATE TABLE {{tables.items}} (id int)")
    with pytest.raises(QueryError, match="depend"):
        await schemas.drop_schema("app")
    assert await db.table_exists("items")
    await schemas.drop_schema("app", cascade=True)
    assert not await schemas.schema_exists("app")


async def test_concurrent_creators_of_one_schema_all_succeed(schemas: SchemaManager) -> None:
    for number in range(5):
        name = f"tenant_{number}"
        await asyncio.gather(*(schemas.create_schema(name) for _ in range(8)))
        assert await schemas.schema_exists(name)


async def test_system_schemas_are_never_dropped(schemas: SchemaManager) -> None:
    for schema in ("public", "pg_catalog", "information_schema", "pg_toast", "pg_temp_1"):
        with pytest.raises(SchemaError, match="Refusing") as caught:
            await schemas.drop_schema(schema, cascade=True)
        assert caught.value.schema == schema


async def test_an_invalid_name_is_refused(schemas: SchemaManager) -> None:
    names: list[Any] = ["", "a b", "a.b", 'a"; DROP SCHEMA public CASCADE; --', "a" * 64, None]
    for name in names:
        for use in (schemas.create_schema(name), schemas.schema_exists(name), schemas.drop_schema(name)):
            with pytest.raises(SchemaError, match="Invalid schema name"):
                await use
    assert await schemas.list_schemas() == ["public"]


async def test_an_error_of_the_server_is_a_query_error(schemas: SchemaManager) -> None:
    with pytest.raises(QueryError, match="pg_mine"):
        await schemas.create_schema("pg_mine")


async def test_an_existing_schema_needs_no_privilege(
    database: str, connect: Callable[[], AbstractAsyncContextManager[Any]]
) -> None:
    async with connect() as connection:
        await connection.execute("CREATE SCHEMA tenant")
    config = DatabaseConfig(
        connection_string=database,
        min_connections=1,
        max_connections=1,
        server_settings={"default_transaction_read_only": "on"},
    )
    async with AsyncDatabaseManager(config) as db:
        await SchemaManager(db).create_schema("tenant")
        with pytest.raises(QueryError, match="read-only") as caught:
            await SchemaManager(db).create_schema("another")
        assert 'CREATE SCHEMA IF NOT EXISTS "another"' in str(caught.value)
