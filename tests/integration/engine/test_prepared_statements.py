"""A message of several files prepares pgdbm's own statements, and leaves none of them in the session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, DatabaseConfig, MigrationExecutionError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

COUNT = 40
FILES = {f"{number:02}.sql": f"CREATE TABLE {{{{tables.t{number}}}}} (id int);" for number in range(1, COUNT + 1)}
# No text of the file shows that it removes prepared statements.
FORGETS = {
    "01.sql": "CREATE FUNCTION app.forget() RETURNS int LANGUAGE plpgsql AS"
    " $$ DECLARE one record; BEGIN FOR one IN SELECT name FROM pg_catalog.pg_prepared_statements WHERE from_sql"
    " LOOP EXECUTE format('DEALLOC' || 'ATE %I', one.name); END LOOP; RETURN 1; END $$;",
    "25.sql": "CREATE TABLE {{tables.t25}} (id int);\nINSERT INTO {{tables.t25}} VALUES (app.forget());",
}


@pytest.fixture
async def db(database: str) -> AsyncIterator[AsyncDatabaseManager]:
    async with AsyncDatabaseManager(
        DatabaseConfig(connection_string=database, schema="app", min_connections=1, max_connections=1)
    ) as manager:
        yield manager


async def prepared(db: AsyncDatabaseManager) -> list[str]:
    rows = await db.fetch_all("SELECT name FROM pg_catalog.pg_prepared_statements WHERE from_sql")
    return [row["name"] for row in rows]


async def apply(db: AsyncDatabaseManager, files: dict[str, str], *, listens: bool) -> list[str]:
    options: dict[str, Any] = {"on_event": lambda _: None} if listens else {}
    result = await AsyncMigrationManager(db, files, "m", **options).apply_pending_migrations()
    return [one["filename"] for one in result["applied"]]


@pytest.mark.parametrize("listens", [False, True])
@pytest.mark.parametrize("more", [{}, FORGETS], ids=["usual", "removes"])
async def test_none_is_left(db: AsyncDatabaseManager, more: dict[str, str], listens: bool) -> None:
    assert await apply(db, FILES | more, listens=listens) == list(FILES)
    assert await prepared(db) == []


@pytest.mark.parametrize("listens", [False, True])
@pytest.mark.parametrize("more", [{}, FORGETS], ids=["usual", "removes"])
async def test_none_is_left_after_a_failure(db: AsyncDatabaseManager, more: dict[str, str], listens: bool) -> None:
    failing = {"37.sql": "CREATE TABLE {{tables.t37}} (id int);\nCREATE TABLE {{tables.t37}} (id int);"}
    with pytest.raises(MigrationExecutionError) as caught:
        await apply(db, FILES | more | failing, listens=listens)
    assert (caught.value.migration_file, caught.value.line) == ("37.sql", 2)
    assert await prepared(db) == []
    assert [one["filename"] for one in caught.value.applied] == list(FILES)[:36]
    assert await apply(db, FILES | more, listens=listens) == list(FILES)[36:]


async def test_the_history_is_dropped_before_the_first_message(db: AsyncDatabaseManager) -> None:
    manager = AsyncMigrationManager(db, FILES, "m")
    plan = await manager.read_plan()
    await manager.apply_pending_migrations()
    await db.execute("DROP TABLE app.schema_migrations")
    for number in range(1, COUNT + 1):
        await db.execute(f"DROP TABLE app.t{number}")
    result = await manager.apply_pending_migrations(known=plan)
    assert len(result["applied"]) == len(FILES)
    assert await prepared(db) == []
