"""Migrations that run as the database role of their module, with the history written by the connecting user."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest

import pgdbm
from pgdbm import AsyncDatabaseManager, AsyncMigrationManager

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping


@pytest.fixture
async def role(db: AsyncDatabaseManager) -> AsyncIterator[str]:
    name = f"tenant_{uuid.uuid4().hex[:12]}"
    await db.execute(f"CREATE ROLE {name}")
    yield name
    await db.execute(f"DROP OWNED BY {name}")
    await db.execute(f"DROP ROLE {name}")


async def apply(
    db: AsyncDatabaseManager, role: str, files: Mapping[str, str], *, atomic: Any = "file", **options: Any
) -> dict[str, Any]:
    manager = AsyncMigrationManager(db, files, "m", role=role, snapshots=False, **options)
    return await manager.apply_pending_migrations(atomic=atomic)


async def owners(db: AsyncDatabaseManager) -> dict[str, str]:
    rows = await db.fetch_all("SELECT tablename, tableowner FROM pg_tables WHERE schemaname = 'app'")
    return {row["tablename"]: row["tableowner"] for row in rows}


FILES = {
    "001_a.sql": "CREATE TABLE {{tables.a}} (id int)",
    "002_b.sql": "CREATE TABLE {{tables.b}} AS SELECT current_user::text AS who, session_user::text AS really",
}


@pytest.mark.parametrize("way", ["together", "by statement", "atomic", "atomic, by statement"])
async def test_files_run_as_the_role_and_the_history_as_the_user(db: AsyncDatabaseManager, role: str, way: str) -> None:
    received: list[Any] = []
    options: dict[str, Any] = {"on_event": received.append} if "statement" in way else {}
    result = await apply(db, role, FILES, atomic="all" if "all" in way else "file", **options)
    assert [one["filename"] for one in result["applied"]] == list(FILES)
    us = await db.fetch_value("SELECT current_user")
    assert await owners(db) == {"a": role, "b": role, "schema_migrations": us}
    assert await db.fetch_one("SELECT who, really FROM {{tables.b}}") == {"who": role, "really": us}
    rows = await db.fetch_all("SELECT applied_by FROM {{tables.schema_migrations}}")
    assert {row["applied_by"] for row in rows} == {us}
    assert await db.fetch_value("SELECT current_user") == us


async def test_no_transaction_files_run_as_the_role(db: AsyncDatabaseManager, role: str) -> None:
    files = {
        "001_a.sql": "CREATE TABLE {{tables.a}} (id int)",
        "002_b.sql": "-- pgdbm:no-transaction\nCREATE INDEX CONCURRENTLY a_id ON {{tables.a}} (id);\n"
        "CREATE TABLE {{tables.b}} AS SELECT current_user::text AS who;\n"
        "CREATE INDEX CONCURRENTLY b_who ON {{tables.b}} (who)",
    }
    await apply(db, role, files)
    us = await db.fetch_value("SELECT current_user")
    assert await db.fetch_value("SELECT who FROM {{tables.b}}") == role
    assert await owners(db) == {"a": role, "b": role, "schema_migrations": us, "pgdbm_journal": us}
    for _ in range(10):
        assert await db.fetch_value("SELECT current_user") == us


@pytest.mark.parametrize("content", ["CREATE TABLE {0} (id int)", "-- pgdbm:no-transaction\nCREATE TABLE {0} (id int)"])
async def test_a_statement_without_privilege_for_the_role_fails(
    db: AsyncDatabaseManager, role: str, content: str
) -> None:
    await db.execute("CREATE SCHEMA private")
    with pytest.raises(pgdbm.MigrationExecutionError) as caught:
        await apply(db, role, {"001_a.sql": content.format("private.t")})
    assert caught.value.sqlstate == "42501"
    assert (caught.value.statement, caught.value.migration_file) == (1, "001_a.sql")
    us = await db.fetch_value("SELECT session_user")
    for _ in range(10):
        assert await db.fetch_value("SELECT current_user") == us


async def test_an_error_position_is_that_of_the_file(db: AsyncDatabaseManager, role: str) -> None:
    with pytest.raises(pgdbm.MigrationExecutionError) as caught:
        await apply(db, role, {"001_a.sql": "SELECT 1;\nSELECT nothing FROM pg_class"})
    assert (caught.value.line, caught.value.column) == (2, 8)
    with pytest.raises(pgdbm.MigrationExecutionError) as caught:
        await apply(db, role, {"001_a.sql": "-- pgdbm:no-transaction\nSELECT 1;\nSELECT nothing FROM pg_class"})
    assert (caught.value.line, caught.value.column) == (3, 8)


async def test_a_down_migration_runs_as_the_role(db: AsyncDatabaseManager, role: str) -> None:
    files = {
        "001_a.sql": "CREATE TABLE {{tables.a}} (id int)",
        "001_a.down.sql": "CREATE TABLE {{tables.undone}} AS SELECT current_user::text AS who",
    }
    manager = AsyncMigrationManager(db, files, "m", role=role)
    await manager.apply_pending_migrations()
    await manager.revert()
    assert await db.fetch_value("SELECT who FROM {{tables.undone}}") == role
    assert await db.fetch_value("SELECT count(*) FROM {{tables.schema_migrations}}") == 0


async def test_a_rehearsal_runs_as_the_role(db: AsyncDatabaseManager, role: str) -> None:
    await db.execute("CREATE SCHEMA private; CREATE TABLE private.secret ()")
    applied = {
        "001_a.sql": "CREATE TABLE {{tables.a}} AS SELECT current_user::text AS who",
        "002_b.sql": "-- pgdbm:no-transaction\nVACUUM {{tables.a}};\nCREATE INDEX a_who ON {{tables.a}} (who)",
    }
    owned = f"DO $$ BEGIN ASSERT current_user = '{role}'; ASSERT (SELECT who FROM {{{{tables.a}}}}) = '{role}'; END $$"
    manager = AsyncMigrationManager(db, applied, "m", role=role)
    await manager.apply_pending_migrations()
    pending = applied | {"003_c.sql": owned, "004_d.sql": f"-- pgdbm:no-transaction\n{owned};\nVACUUM {{{{tables.a}}}}"}
    rehearsal = await manager.with_options(migrations_path=pending).rehearse()
    assert rehearsal.succeeded, rehearsal
    assert [one.locks is None for one in rehearsal.files[1].statements] == [False, True]

    for content in ("{}", "-- pgdbm:no-transaction\n{};\nVACUUM {{{{tables.a}}}}"):
        files = pending | {"005_e.sql": content.format("TABLE private.secret")}
        refused = await manager.with_options(migrations_path=files).rehearse()
        assert refused.failure is not None
        assert (refused.failure.filename, refused.failure.sqlstate) == ("005_e.sql", "42501")
    resetting = manager.with_options(migrations_path=pending | {"005_e.sql": "RESET ROLE"})
    for read in (resetting.rehearse, resetting.plan):
        with pytest.raises(pgdbm.MigrationFileError, match="leave the role"):
            await read()
    us = await db.fetch_value("SELECT session_user")
    for _ in range(10):
        assert await db.fetch_value("SELECT current_user") == us
    assert await db.fetch_value("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'pgdbm_rehearsal%'") == 0


async def test_a_baseline_is_checked_as_the_role(db: AsyncDatabaseManager, role: str) -> None:
    files = {"001_a.sql": "CREATE TABLE {{tables.a}} (id int); GRANT SELECT ON {{tables.a}} TO PUBLIC"}
    manager = AsyncMigrationManager(db, files, "m", role=role, snapshots=False)
    await manager.apply_pending_migrations()
    await db.execute("TRUNCATE {{tables.schema_migrations}}")
    assert await manager.baseline("001") == ["001_a.sql"]


async def test_a_role_that_does_not_exist_is_an_error(db: AsyncDatabaseManager) -> None:
    with pytest.raises(pgdbm.AsyncDBError):
        await apply(db, "missing_role", FILES)


async def test_the_backend_pid_is_reported(db: AsyncDatabaseManager) -> None:
    reported: list[int | None] = []
    files = {"001_a.sql": "CREATE TABLE {{tables.a}} AS SELECT pg_backend_pid() AS pid"}
    manager = AsyncMigrationManager(db, files, "m").with_options(on_backend=reported.append)
    await manager.apply_pending_migrations()
    assert reported == [await db.fetch_value("SELECT pid FROM {{tables.a}}"), None]


async def test_reading_the_plan_parses_nothing(db: AsyncDatabaseManager) -> None:
    manager = AsyncMigrationManager(db, {"001_a.sql": "SELECT 1", "002_b.sql": "SELEKT", "003_c.sql": "SELECT 3"}, "m")
    await manager.apply_pending_migrations(target="001")
    plan = await manager.plan_pending(target="002")
    found = [[one.filename for one in part] for part in (plan.skipped, plan.pending, plan.beyond_target)]
    assert found == [["001_a.sql"], ["002_b.sql"], ["003_c.sql"]]


@pytest.mark.parametrize(
    "resetting",
    [
        "RESET ROLE",
        "SET ROLE postgres",
        "SET SESSION AUTHORIZATION DEFAULT",
        "SELECT set_config('role', 'none', false)",
    ],
)
async def test_a_file_that_leaves_its_role_is_refused_before_anything_runs(
    db: AsyncDatabaseManager, role: str, resetting: str
) -> None:
    files = {"001_a.sql": "CREATE TABLE {{tables.a}} (id int)", "002_b.sql": f"SELECT 1;\n{resetting};"}
    with pytest.raises(pgdbm.MigrationFileError) as refused:
        await apply(db, role, files)
    assert (refused.value.migration_file, refused.value.line) == ("002_b.sql", 2)
    assert "leave the role" in str(refused.value)
    assert await owners(db) in ({}, {"schema_migrations": await db.fetch_value("SELECT current_user")})


async def test_a_down_migration_that_leaves_its_role_is_refused_before_anything_runs(
    db: AsyncDatabaseManager, role: str
) -> None:
    files = {"001_a.sql": "CREATE TABLE {{tables.a}} (id int)", "001_a.down.sql": "SELECT 1;\nRESET ROLE;"}
    manager = AsyncMigrationManager(db, files, "m", role=role)
    await manager.apply_pending_migrations()
    with pytest.raises(pgdbm.MigrationFileError, match="leave the role") as refused:
        await manager.revert()
    assert (refused.value.migration_file, refused.value.line) == ("001_a.down.sql", 2)
    assert (await manager.status()).applied == 1
