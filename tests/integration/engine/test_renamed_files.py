"""A file that was renamed after it was applied is recognized by its content, and not run again."""

from __future__ import annotations

import pytest

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager

TABLE = "CREATE TABLE {{tables.t}} (id int);"
SEED = "INSERT INTO {{tables.t}} VALUES (1), (2);"
OTHER = "INSERT INTO {{tables.t}} VALUES (3);"


@pytest.fixture
async def applied(db: AsyncDatabaseManager) -> AsyncDatabaseManager:
    files = {"001_t.sql": TABLE, "002_seed.sql": SEED}
    await AsyncMigrationManager(db, files, "m").apply_pending_migrations()
    return db


async def count(db: AsyncDatabaseManager) -> int:
    rows: int = await db.fetch_value("SELECT count(*) FROM {{tables.t}}")
    return rows


async def test_renamed(applied: AsyncDatabaseManager) -> None:
    migrations = AsyncMigrationManager(applied, {"001_t.sql": TABLE, "002_seed_prices.sql": SEED}, "m")
    names = [{"filename": "002_seed_prices.sql", "applied_as": "002_seed.sql"}]
    dry = await migrations.apply_pending_migrations(dry_run=True)
    assert (dry["pending"], dry["renamed"]) == (["002_seed_prices.sql"], names)
    assert (await migrations.plan(squawk=False)).pending == ()
    assert (await migrations.rehearse()).succeeded
    result = await migrations.apply_pending_migrations()
    assert (result["status"], result["renamed"]) == ("success", names)
    assert await count(applied) == 2
    assert (await migrations.journal())[0].message == "applied as 002_seed.sql"
    again = await migrations.apply_pending_migrations()
    assert (again["status"], "renamed" in again) == ("up_to_date", False)
    assert [one.state for one in (await migrations.status()).migrations] == ["applied", "applied"]


async def test_renumbered_beside_a_new_file(applied: AsyncDatabaseManager) -> None:
    files = {"001_t.sql": TABLE, "002_other.sql": OTHER, "003_seed.sql": SEED}
    result = await AsyncMigrationManager(applied, files, "m").apply_pending_migrations()
    assert [one["filename"] for one in result["applied"]] == ["003_seed.sql", "002_other.sql"]
    assert result["renamed"] == [{"filename": "003_seed.sql", "applied_as": "002_seed.sql"}]
    assert await count(applied) == 3


async def test_out_of_order_does_not_count_a_renamed_file(applied: AsyncDatabaseManager) -> None:
    files = {"001_t.sql": TABLE, "001.5_seed.sql": SEED}
    result = await AsyncMigrationManager(applied, files, "m", out_of_order="reject").apply_pending_migrations()
    assert [one["applied_as"] for one in result["renamed"]] == ["002_seed.sql"]


async def test_the_same_content_beside_the_old_file_runs(applied: AsyncDatabaseManager) -> None:
    files = {"001_t.sql": TABLE, "002_seed.sql": SEED, "003_seed.sql": SEED}
    result = await AsyncMigrationManager(applied, files, "m").apply_pending_migrations()
    assert "renamed" not in result
    assert await count(applied) == 4


async def test_one_old_file_stands_for_one_new_file(applied: AsyncDatabaseManager) -> None:
    files = {"001_t.sql": TABLE, "003_seed.sql": SEED, "004_seed.sql": SEED}
    result = await AsyncMigrationManager(applied, files, "m").apply_pending_migrations()
    assert [one["filename"] for one in result["renamed"]] == ["003_seed.sql"]
    assert await count(applied) == 4
