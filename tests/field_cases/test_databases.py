"""Settings and privileges of databases, and pools that are shared."""

from __future__ import annotations

import asyncio
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, DatabaseConfig, MigrationError
from pgdbm.cli import app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path


ONE_CONNECTION = {"min_connections": 1, "max_connections": 1, "shared_pool_search_path": "public"}


async def apply(dsn: str, module: str, schema: str | None, files: Mapping[str, str], **options: Any) -> Any:
    """Apply over a shared pool of one connection."""
    config = DatabaseConfig(
        connection_string=dsn, min_connections=1, max_connections=1, shared_pool_search_path="public"
    )
    pool = await AsyncDatabaseManager.create_shared_pool(config)
    try:
        db = AsyncDatabaseManager(pool=pool, schema=schema)
        return await AsyncMigrationManager(db, files, module).apply_pending_migrations(**options)
    finally:
        await pool.close()


def test_modules_of_a_serializable_database_migrate_concurrently(
    start: Callable[..., Any], repo: Any, database: str, sql: Callable[..., Any]
) -> None:
    sql(f"ALTER DATABASE {urlsplit(database).path[1:]} SET default_transaction_isolation = 'serializable'")
    for module in ("a", "b", "c", "d"):
        files = {
            f"_{number:03}": f"CREATE TABLE {{{{tables.{module}{number}}}}} (id int); "
            f"UPDATE {{{{tables.{module}{number}}}}} SET id = 1"
            for number in range(1, 13)
        }
        repo.write(module, 'schema = "app"', **files)
    service = start()
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda module: service.post(f"/modules/{module}/migrate"), ("a", "b", "c", "d")))
    assert [answer.status_code for answer in answers] == [200] * 4, [answer.text for answer in answers]
    assert sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'app' AND tablename ~ '^[a-d][0-9]+$'")[0][0] == 48


def test_modules_with_the_same_temporary_table_migrate_one_after_the_other(service: Any) -> None:
    files = [{"filename": "001.sql", "content": "CREATE TEMP TABLE scratch (a int); CREATE TABLE {{tables.t}} ()"}]
    for number in range(7):
        assert service.client.put(f"/modules/m{number}", json={"migrations": files}).status_code == 201
        answer = service.post(f"/modules/m{number}/migrate")
        assert answer.status_code == 200, answer.text


async def test_a_temporary_table_of_one_module_does_not_shadow_a_table_of_another(database: str) -> None:
    config = DatabaseConfig(
        connection_string=database, min_connections=1, max_connections=1, shared_pool_search_path="public"
    )
    pool = await AsyncDatabaseManager.create_shared_pool(config)
    try:

        async def apply(module: str, schema: str | None, files: dict[str, str]) -> None:
            db = AsyncDatabaseManager(pool=pool, schema=schema)
            await AsyncMigrationManager(db, files, module).apply_pending_migrations()

        users = {"001.sql": "CREATE TABLE users (id int)"}
        await apply("b", "public", users)
        await apply("a", "a", {"001.sql": "CREATE TEMP TABLE users AS SELECT 1 AS id; CREATE TABLE {{tables.t}} ()"})
        await apply("b", "public", users | {"002.sql": "INSERT INTO users VALUES (7)"})
        async with pool.acquire() as connection:
            assert await connection.fetchval("SELECT id FROM public.users") == 7
    finally:
        await pool.close()


async def test_a_deferred_constraint_names_its_file_in_one_transaction(database: str) -> None:
    files = {
        "001_t.sql": "CREATE TABLE {{tables.p}} (id int PRIMARY KEY); CREATE TABLE {{tables.c}} (p int REFERENCES "
        "{{tables.p}} DEFERRABLE INITIALLY DEFERRED)",
        "002_bad.sql": "INSERT INTO {{tables.p}} VALUES (1); INSERT INTO {{tables.c}} VALUES (7)",
        "003_good.sql": "CREATE TABLE {{tables.y}} ()",
        "004_good.sql": "CREATE TABLE {{tables.z}} ()",
    }
    with pytest.raises(MigrationError) as caught:
        await apply(database, "m", "app", files, atomic="all")
    assert "002_bad.sql" in str(caught.value)
    assert "004_good.sql" not in str(caught.value)


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
def test_times_of_the_history_do_not_depend_on_the_time_zone_of_the_database(
    database: str, sql: Callable[..., Any], zone: str
) -> None:
    asyncio.run(apply(database, "m", "app", {"001.sql": "SELECT 1"}))
    sql(f"ALTER DATABASE {urlsplit(database).path[1:]} SET timezone = '{zone}'")

    async def history() -> list[Any]:
        async with AsyncDatabaseManager(DatabaseConfig(connection_string=database, schema="app")) as db:
            migrations = AsyncMigrationManager(db, {"001.sql": "SELECT 1", "002.sql": "SELECT 2"}, "m")
            await migrations.apply_pending_migrations()
            return [row.applied_at for row in await migrations.history()]

    second, first = asyncio.run(history())
    assert second.utcoffset().total_seconds() == 0
    assert 0 <= (second - first).total_seconds() < 60


@pytest.fixture
def reader(database: str, sql: Callable[..., Any]) -> Iterator[str]:
    """The DSN of a role that may create in no schema."""
    name = f"reader_{uuid.uuid4().hex[:12]}"
    sql(f"CREATE ROLE {name} LOGIN PASSWORD 'of a reader'")
    parts = urlsplit(database)
    yield parts._replace(netloc=f"{name}:of%20a%20reader@{parts.hostname}:{parts.port}").geturl()
    sql(f"DROP OWNED BY {name}")
    sql(f"DROP ROLE {name}")


def run(*arguments: str) -> tuple[int, str]:
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        code = app.run([*arguments])
    return code, out.getvalue() + err.getvalue()


def test_a_missing_privilege_on_the_schema_is_named_with_its_grant(reader: str, tmp_path: Path) -> None:
    (tmp_path / "001.sql").write_text("CREATE TABLE t ()")
    options = ("--dir", str(tmp_path), "--schema", "public", "-m", "app", "--database-url", reader)
    code, shown = run("migrate", "apply", *options)
    assert code != 0
    assert "GRANT" in shown, shown
    code, shown = run("db", "check", *options)
    assert code != 0, shown


def test_an_extension_in_another_schema_is_found_or_named(database: str, sql: Callable[..., Any]) -> None:
    if not sql("SELECT FROM pg_available_extensions WHERE name = 'hstore'"):
        pytest.skip("the server has no extension hstore")
    files = {"001.sql": "CREATE EXTENSION IF NOT EXISTS hstore; CREATE TABLE {{tables.t}} (tags hstore)"}

    async def migrate(schema: str) -> str | None:
        """The message of a failure."""
        async with AsyncDatabaseManager(DatabaseConfig(connection_string=database, schema=schema)) as db:
            try:
                await AsyncMigrationManager(db, files, schema).apply_pending_migrations()
            except MigrationError as error:
                return str(error)
        return None

    assert asyncio.run(migrate("users")) is None
    failure = asyncio.run(migrate("orders"))
    assert failure is None or ("hstore" in failure and "users" in failure), failure
