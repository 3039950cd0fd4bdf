"""Files with BEGIN as their first statement and COMMIT as their last, as other tools write them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, MigrationExecutionError, MigrationFileError

if TYPE_CHECKING:
    from pgdbm.migrations import Event

FILES = {
    "001_users.sql": "-- Deploy users\n\nBEGIN;\n\nCREATE TABLE {{tables.users}} (id int);\n\nCOMMIT;\n",
    "002_rows.sql": "START TRANSACTION;\nINSERT INTO {{tables.users}} SELECT 1;\nEND;",
    "003_rows.sql": "INSERT INTO {{tables.users}} VALUES (2);",
}


@pytest.mark.parametrize("atomic", ["file", "all"])
async def test_they_run_as_one_transaction_each(db: AsyncDatabaseManager, atomic: Any) -> None:
    migrations = AsyncMigrationManager(db, FILES, "m")
    assert (await migrations.rehearse()).succeeded
    await migrations.apply_pending_migrations(atomic=atomic)
    assert await db.fetch_value("SELECT sum(id) FROM {{tables.users}}") == 3


@pytest.mark.parametrize("content", ["CREATE TABLE {{tables.t}} ();", "SELECT 1; CREATE TABLE {{tables.t}} ();"])
async def test_a_failure_is_rolled_back_and_reported_with_its_line(db: AsyncDatabaseManager, content: str) -> None:
    files = {"001.sql": f"BEGIN;\n{content}\nSELECT 1 / 0;\nCOMMIT;\n"}
    with pytest.raises(MigrationExecutionError, match="division by zero") as caught:
        await AsyncMigrationManager(db, files, "m").apply_pending_migrations()
    assert caught.value.line == 3
    assert not await db.table_exists("t")


async def test_the_modes_of_the_transaction(db: AsyncDatabaseManager) -> None:
    files = {
        "001.sql": "BEGIN ISOLATION LEVEL SERIALIZABLE;\n"
        "CREATE TABLE {{tables.t}} AS SELECT current_setting('transaction_isolation') AS level;\nCOMMIT;"
    }
    await AsyncMigrationManager(db, files, "m").apply_pending_migrations()
    assert await db.fetch_value("SELECT level FROM {{tables.t}}") == "serializable"


async def test_events_count_the_statements_between(db: AsyncDatabaseManager) -> None:
    events: list[Event] = []
    files = {"001.sql": "BEGIN;\nCREATE TABLE {{tables.t}} ();\nSELECT 1;\nCOMMIT;"}
    await AsyncMigrationManager(db, files, "m", on_event=events.append).apply_pending_migrations()
    started = [(one.statement, one.statements) for one in events if one.kind == "statement_started"]
    assert started == [(1, 2), (2, 2)]


async def test_rows_for_copy(db: AsyncDatabaseManager) -> None:
    rows = "BEGIN;\nCREATE TABLE {{tables.t}} (v text);\nCOPY {{tables.t}} FROM stdin;\nCOMMIT;\n\\.\nCOMMIT;\n"
    await AsyncMigrationManager(db, {"001.sql": rows}, "m").apply_pending_migrations()
    assert await db.fetch_value("SELECT v FROM {{tables.t}}") == "COMMIT;"


async def test_a_long_file(db: AsyncDatabaseManager) -> None:
    rows = "".join(f"INSERT INTO {{{{tables.t}}}} VALUES ({number}, '{'x' * 60}');\n" for number in range(8000))
    files = {"001.sql": f"BEGIN;\nCREATE TABLE {{{{tables.t}}}} (id int, v text);\n{rows}COMMIT;\n"}
    migrations = AsyncMigrationManager(db, files, "m")
    (planned,) = (await migrations.plan(squawk=False)).pending
    assert len(planned.statements) == 8001
    await migrations.apply_pending_migrations()
    assert await db.fetch_value("SELECT count(*) FROM {{tables.t}}") == 8000


async def test_a_role_may_not_leave_it(db: AsyncDatabaseManager) -> None:
    await db.execute("DROP ROLE IF EXISTS own_role; CREATE ROLE own_role")
    await AsyncMigrationManager(
        db, {"001.sql": "BEGIN;\nCREATE TABLE {{tables.t}} ();\nCOMMIT;"}, "m", role="own_role"
    ).apply_pending_migrations()
    with pytest.raises(MigrationFileError, match="transaction"):
        await AsyncMigrationManager(
            db, {"002.sql": "BEGIN;\nCOMMIT;\nSELECT 1;\nCOMMIT;"}, "m", role="own_role"
        ).apply_pending_migrations()
    await db.execute("DROP OWNED BY own_role; DROP ROLE own_role")


# As Prisma writes them, and EF Core: what is not in the transaction runs by itself, and is not repeated.
AMONG_OTHERS = {
    "after statements": "CREATE TABLE {{tables.t}} (v text);\nINSERT INTO {{tables.t}} VALUES ('first');\n\nBEGIN;\n"
    "INSERT INTO {{tables.t}} VALUES ('second');\nSELECT 1 / (SELECT count(*) FROM {{tables.open}});\nCOMMIT;\n",
    "before statements": "START TRANSACTION;\n\nDO $EF$\nBEGIN\n    CREATE TABLE {{tables.t}} (v text);\n"
    "    INSERT INTO {{tables.t}} VALUES ('first'), ('second');\nEND $EF$;\nCOMMIT;\n\n"
    "SELECT 1 / (SELECT count(*) FROM {{tables.open}});\n",
}


@pytest.mark.parametrize("content", AMONG_OTHERS.values(), ids=AMONG_OTHERS)
async def test_a_transaction_among_other_statements(db: AsyncDatabaseManager, content: str) -> None:
    files = {"001_open.sql": "CREATE TABLE {{tables.open}} (i int)", "002_mixed.sql": content, "003_c.sql": "SELECT 1"}
    migrations = AsyncMigrationManager(db, files, "m")
    with pytest.raises(MigrationExecutionError, match="division by zero") as failed:
        await migrations.apply_pending_migrations()
    assert (failed.value.migration_file, failed.value.transactional) == ("002_mixed.sql", False)
    assert {one.filename: one.state for one in (await migrations.status()).migrations}["002_mixed.sql"] == "partial"
    await db.execute("INSERT INTO {{tables.open}} VALUES (1)")
    result = await migrations.apply_pending_migrations()
    assert [one["filename"] for one in result["applied"]] == ["002_mixed.sql", "003_c.sql"]
    assert [row["v"] for row in await db.fetch_all("SELECT v FROM {{tables.t}} ORDER BY v")] == ["first", "second"]


@pytest.mark.parametrize(
    "content",
    [
        "SELECT 1;\nBEGIN;\nSELECT 2;\n",
        "SELECT 1;\nCOMMIT;\nSELECT 2;\nBEGIN;\n",
        "SELECT 1;\nBEGIN;\nSELECT 2;\nROLLBACK;\n",
        "SELECT 1;\nBEGIN;\nSELECT 2;\nCOMMIT AND CHAIN;\nSELECT 3;\nCOMMIT;\n",
    ],
)
async def test_a_transaction_that_is_not_ended_once_is_refused(db: AsyncDatabaseManager, content: str) -> None:
    with pytest.raises(MigrationFileError, match="transaction control"):
        await AsyncMigrationManager(db, {"001.sql": content}, "m").apply_pending_migrations()


async def test_a_mode_in_the_middle_of_a_file(db: AsyncDatabaseManager) -> None:
    files = {"001.sql": "CREATE TABLE {{tables.t}} ();\nSET TRANSACTION ISOLATION LEVEL SERIALIZABLE;\nSELECT 1;"}
    with pytest.raises(MigrationExecutionError, match="first statement of the file"):
        await AsyncMigrationManager(db, files, "m").apply_pending_migrations()
