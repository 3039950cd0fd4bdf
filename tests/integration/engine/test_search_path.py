"""Unqualified names in files: on a shared pool they are resolved in the module's schema, as on a pool of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, DatabaseConfig

if TYPE_CHECKING:
    import asyncpg

FILES = {
    "001_users.sql": "CREATE TABLE users (id int);\nCREATE INDEX users_id ON users (id);",
    "002_rows.sql": "INSERT INTO users SELECT * FROM generate_series(1, 3);",
    "003_index.sql": "-- pgdbm:no-transaction\nCREATE INDEX CONCURRENTLY users_again ON users (id);\nANALYZE users;",
}


@pytest.mark.parametrize("atomic", ["file", "all"])
@pytest.mark.parametrize("is_observed", [False, True])
async def test_files_of_each_kind(db: AsyncDatabaseManager, atomic: Any, is_observed: bool) -> None:
    files = {name: content for name, content in FILES.items() if atomic == "file" or "CONCURRENTLY" not in content}
    on_event = (lambda _: None) if is_observed else None
    migrations = AsyncMigrationManager(db, files, "m", on_event=on_event)
    await migrations.apply_pending_migrations(atomic=atomic)
    assert await db.fetch_value("SELECT count(*) FROM {{tables.users}}") == 3
    assert await db.fetch_value("SHOW search_path") == "pg_catalog"


async def test_each_schema_has_its_own(pool: asyncpg.Pool[Any]) -> None:
    for schema in ("one", "two", "public"):
        await AsyncMigrationManager(
            AsyncDatabaseManager(pool=pool, schema=schema), FILES, "m"
        ).apply_pending_migrations()
    found = await pool.fetch("SELECT schemaname FROM pg_tables WHERE tablename = 'users' ORDER BY schemaname")
    assert [row["schemaname"] for row in found] == ["one", "public", "two"]


async def test_what_an_extension_has_in_public(db: AsyncDatabaseManager) -> None:
    # A substitute for an extension: the embedded server has few.
    await db.execute("CREATE DOMAIN public.email AS pg_catalog.text")
    await AsyncMigrationManager(db, {"001.sql": "CREATE TABLE users (mail email);"}, "m").apply_pending_migrations()
    assert await db.table_exists("users")


async def test_the_search_path_of_a_file_ends_with_it(db: AsyncDatabaseManager) -> None:
    files = {
        "001.sql": "CREATE SCHEMA other; SET search_path = other; CREATE TABLE one ();",
        "002.sql": "CREATE TABLE two AS SELECT current_setting('search_path') AS path;",
    }
    await AsyncMigrationManager(db, files, "m").apply_pending_migrations(atomic="all")
    assert await db.table_exists("other.one")
    assert await db.fetch_value("SELECT path FROM {{tables.two}}") == "app, public"


async def test_a_file_that_resumes(db: AsyncDatabaseManager) -> None:
    files = FILES | {
        "003_index.sql": "-- pgdbm:no-transaction\nCREATE TABLE more (id int);\nINSERT INTO more VALUES (1 / "
        "(SELECT count(*) FROM {{tables.switch}}));\nINSERT INTO more VALUES (2);"
    }
    await db.ensure_schema("app")
    await db.execute("CREATE TABLE {{tables.switch}} ()")
    migrations = AsyncMigrationManager(db, files, "m")
    with pytest.raises(Exception, match="division by zero"):
        await migrations.apply_pending_migrations()
    await db.execute("INSERT INTO {{tables.switch}} DEFAULT VALUES")
    await migrations.apply_pending_migrations()
    assert await db.fetch_value("SELECT sum(id) FROM {{tables.more}}") == 3


@pytest.mark.parametrize("marker", ["", "-- pgdbm:no-transaction\n"])
async def test_a_down_migration(db: AsyncDatabaseManager, marker: str) -> None:
    files = {"001.sql": FILES["001_users.sql"], "001.down.sql": f"{marker}DROP TABLE users;"}
    migrations = AsyncMigrationManager(db, files, "m")
    await migrations.apply_pending_migrations()
    await migrations.revert()
    assert not await db.table_exists("users")


async def test_a_rehearsal(db: AsyncDatabaseManager) -> None:
    migrations = AsyncMigrationManager(db, FILES, "m")
    assert (await migrations.rehearse()).succeeded
    await migrations.apply_pending_migrations(target="001")
    rehearsal = await migrations.rehearse()
    assert rehearsal.succeeded, rehearsal
    assert await db.fetch_value("SELECT count(*) FROM {{tables.users}}") == 0


async def test_the_role_of_a_module(db: AsyncDatabaseManager) -> None:
    await db.execute("DROP ROLE IF EXISTS path_role; CREATE ROLE path_role")
    await AsyncMigrationManager(db, FILES, "m", role="path_role").apply_pending_migrations()
    owner = await db.fetch_value("SELECT tableowner FROM pg_tables WHERE tablename = 'users'")
    assert owner == "path_role"
    await db.execute("DROP OWNED BY path_role; DROP ROLE path_role")


async def test_a_pool_with_a_search_path_of_its_own(database: str) -> None:
    config = DatabaseConfig(
        connection_string=database, min_connections=1, max_connections=1, shared_pool_search_path="public"
    )
    pool = await AsyncDatabaseManager.create_shared_pool(config)
    db = AsyncDatabaseManager(pool=pool, schema="app")
    await AsyncMigrationManager(db, {"001.sql": "CREATE TABLE users ();"}, "m").apply_pending_migrations()
    assert await db.table_exists("public.users")
    await pool.close()
