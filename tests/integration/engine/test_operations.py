"""Targets, atomic="all", repeatable files, down migrations, and changes to the history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import pgdbm
from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, DatabaseConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

A = "CREATE TABLE {{tables.a}} (id int PRIMARY KEY);"
B = "CREATE TABLE {{tables.b}} (id int PRIMARY KEY);"


def manager(db: AsyncDatabaseManager, files: Mapping[str, str], **options: Any) -> AsyncMigrationManager:
    return AsyncMigrationManager(db, files, "m", **options)


async def names(db: AsyncDatabaseManager) -> list[str]:
    rows = await db.fetch_all("SELECT filename FROM {{tables.schema_migrations}} ORDER BY id")
    return [row["filename"] for row in rows]


def applied(result: dict[str, Any]) -> list[str]:
    return [one["filename"] for one in result["applied"]]


class TestTarget:
    FILES = {"001_a.sql": A, "002_b.sql": B, "010_c.sql": "SELECT 1", "R__view.sql": "SELECT 2"}  # noqa: RUF012

    @pytest.mark.parametrize("target", ["2", "002", "002_b.sql"])
    async def test_nothing_after_the_target_is_applied(self, db: AsyncDatabaseManager, target: str) -> None:
        migrations = manager(db, self.FILES)
        assert applied(await migrations.apply_pending_migrations(target=target)) == ["001_a.sql", "002_b.sql"]
        assert (await migrations.apply_pending_migrations(target=target))["status"] == "up_to_date"
        assert applied(await migrations.apply_pending_migrations()) == ["010_c.sql", "R__view.sql"]

    async def test_an_unknown_target_is_refused_with_the_known_versions(self, db: AsyncDatabaseManager) -> None:
        with pytest.raises(pgdbm.MigrationError, match=r"'7'.*001, 002, 010"):
            await manager(db, self.FILES).apply_pending_migrations(target="7")


class TestAtomicAll:
    async def test_atomic_all_applies_every_file_in_one_transaction(self, db: AsyncDatabaseManager) -> None:
        files = {"1.sql": A, "2.sql": B, "3.sql": "INSERT INTO {{tables.a}} SELECT 1"}
        assert applied(await manager(db, files).apply_pending_migrations(atomic="all")) == list(files)
        assert await names(db) == list(files)

    @pytest.mark.parametrize("last", ["CREATE TABLE {{tables.a}} ()", "SELECT 1;\nSELECT 1/0"])
    async def test_atomic_all_applies_nothing_after_a_failure(self, db: AsyncDatabaseManager, last: str) -> None:
        with pytest.raises(pgdbm.MigrationExecutionError) as caught:
            await manager(db, {"1.sql": A, "2.sql": B, "3.sql": last}).apply_pending_migrations(atomic="all")
        assert caught.value.migration_file == "3.sql"
        assert caught.value.applied == []
        assert await names(db) == []
        assert not await db.table_exists("a")

    async def test_a_file_without_a_transaction_is_refused(self, db: AsyncDatabaseManager) -> None:
        with pytest.raises(pgdbm.ConfigurationError, match=r"2\.sql"):
            await manager(db, {"1.sql": A, "2.sql": "-- pgdbm:no-transaction\nVACUUM"}).apply_pending_migrations(
                atomic="all"
            )


class TestRepeatable:
    async def test_a_repeatable_file_runs_last_and_again_when_it_changes(self, db: AsyncDatabaseManager) -> None:
        view = "CREATE OR REPLACE VIEW {{schema}}.v AS SELECT 1 AS a"
        files = {"R__v.sql": view, "2.sql": A}
        assert applied(await manager(db, files).apply_pending_migrations()) == ["2.sql", "R__v.sql"]
        assert (await manager(db, files).apply_pending_migrations())["status"] == "up_to_date"
        files["R__v.sql"] = view + ", 2 AS b"
        status = await manager(db, files).status()
        assert [one.state for one in status.migrations] == ["applied", "pending"]
        assert applied(await manager(db, files).apply_pending_migrations()) == ["R__v.sql"]
        assert await db.fetch_value("SELECT b FROM {{schema}}.v") == 2
        assert sorted(await names(db)) == ["2.sql", "R__v.sql"]

    async def test_a_repeatable_file_can_run_without_a_transaction(self, db: AsyncDatabaseManager) -> None:
        files = {"R__v.sql": "-- pgdbm:no-transaction\nANALYZE"}
        await manager(db, files).apply_pending_migrations()
        files["R__v.sql"] += " VERBOSE"
        assert applied(await manager(db, files).apply_pending_migrations()) == ["R__v.sql"]

    async def test_a_repeatable_file_makes_no_version_out_of_order(self, db: AsyncDatabaseManager) -> None:
        files = {"1.sql": A, "R__v.sql": "SELECT 1"}
        await manager(db, files).apply_pending_migrations()
        files["2.sql"] = B
        assert applied(await manager(db, files, out_of_order="reject").apply_pending_migrations()) == ["2.sql"]


class TestRevert:
    FILES = {  # noqa: RUF012
        "1_a.sql": A,
        "1_a.down.sql": "DROP TABLE {{tables.a}}",
        "2_b.sql": B,
        "2_b.down.sql": "DROP TABLE {{tables.b}}",
        "3_c.sql": "SELECT 1",
    }

    async def test_one_migration_is_reverted_and_applied_again(self, db: AsyncDatabaseManager) -> None:
        files = {name: text for name, text in self.FILES.items() if name != "3_c.sql"}
        migrations = manager(db, files)
        await migrations.apply_pending_migrations()
        assert [one.filename for one in await migrations.revert()] == ["2_b.sql"]
        assert not await db.table_exists("b")
        assert await names(db) == ["1_a.sql"]
        assert applied(await migrations.apply_pending_migrations()) == ["2_b.sql"]
        assert [one.filename for one in await migrations.revert(2)] == ["2_b.sql", "1_a.sql"]

    async def test_a_missing_down_migration_runs_nothing(self, db: AsyncDatabaseManager) -> None:
        migrations = manager(db, self.FILES)
        await migrations.apply_pending_migrations()
        with pytest.raises(pgdbm.MigrationError, match=r"3_c\.down\.sql"):
            await migrations.revert(2)
        with pytest.raises(pgdbm.MigrationError, match="3 are applied"):
            await migrations.revert(4)
        assert len(await names(db)) == 3

    async def test_a_failing_down_migration_keeps_the_history_row(self, db: AsyncDatabaseManager) -> None:
        migrations = manager(db, {"1_a.sql": A, "1_a.down.sql": "SELECT 1;\n  DROP TABLE {{tables.nope}}"})
        await migrations.apply_pending_migrations()
        with pytest.raises(pgdbm.MigrationExecutionError) as caught:
            await migrations.revert()
        assert (caught.value.migration_file, caught.value.statement, caught.value.line) == ("1_a.down.sql", 2, 2)
        assert await names(db) == ["1_a.sql"]

    async def test_a_down_migration_can_run_without_a_transaction(self, db: AsyncDatabaseManager) -> None:
        index = "-- pgdbm:no-transaction\nCREATE INDEX CONCURRENTLY a_id ON {{tables.a}} (id)"
        back = "-- pgdbm:no-transaction\nDROP INDEX CONCURRENTLY {{schema}}.a_id"
        migrations = manager(db, {"1.sql": A, "2.sql": index, "2.down.sql": back})
        await migrations.apply_pending_migrations()
        await migrations.revert()
        assert applied(await migrations.apply_pending_migrations()) == ["2.sql"]


class TestDecisions:
    async def test_a_migration_is_marked_and_unmarked(self, db: AsyncDatabaseManager) -> None:
        migrations = manager(db, {"1.sql": A, "2.sql": B})
        await migrations.mark("1.sql", applied=True)
        assert applied(await migrations.apply_pending_migrations()) == ["2.sql"]
        assert not await db.table_exists("a")
        await migrations.mark("1.sql", applied=False)
        assert applied(await migrations.apply_pending_migrations()) == ["1.sql"]
        with pytest.raises(pgdbm.MigrationError, match="already"):
            await migrations.mark("1.sql", applied=True)
        with pytest.raises(pgdbm.MigrationError, match="no migration"):
            await migrations.mark("9.sql", applied=True)
        assert [entry.event for entry in await migrations.journal()] == ["unmarked", "marked"]

    async def test_a_schema_that_does_not_exist_has_an_empty_history(self, db: AsyncDatabaseManager) -> None:
        migrations = manager(db, {"1.sql": A, "1.down.sql": "DROP TABLE {{tables.a}}"})
        for refused in (
            migrations.resolve_statement("1.sql", 1, done=True),
            migrations.revert(1),
            migrations.mark("1.sql", applied=False),
        ):
            with pytest.raises(pgdbm.MigrationError):
                await refused
        assert await migrations.repair(accept=True) == []
        assert not await db.fetch_value("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'app')")

    async def test_repair_previews_before_it_accepts(self, db: AsyncDatabaseManager) -> None:
        await manager(db, {"1.sql": A}).apply_pending_migrations()
        changed = manager(db, {"1.sql": A + " -- better"})
        (shown,) = await changed.repair()
        assert (shown.filename, shown.recorded) == ("1.sql", changed.calculate_checksum(A))
        with pytest.raises(pgdbm.ChecksumMismatchError):
            await changed.apply_pending_migrations()
        assert await changed.repair(accept=True) == [shown]
        assert (await changed.apply_pending_migrations())["status"] == "up_to_date"
        assert (await changed.journal())[0].event == "repaired"

    async def test_failed_and_partial_migrations_have_their_states(self, db: AsyncDatabaseManager) -> None:
        files = {
            "1_a.sql": A,
            "2_partial.sql": "-- pgdbm:no-transaction\nVACUUM;\nSELECT 1/0",
            "9_newer.sql": "SELECT 1",
        }
        with pytest.raises(pgdbm.MigrationExecutionError):
            await manager(db, files).apply_pending_migrations()
        await manager(db, files).mark("9_newer.sql", applied=True)
        states = await manager(db, {"1_a.sql": A, "2_partial.sql": files["2_partial.sql"]}).status()
        assert [one.state for one in states.migrations] == ["applied", "partial", "ahead"]
        assert states.state == "partial"
        failing = {"1_a.sql": A, "3_bad.sql": "CREATE TABLE {{tables.a}} ()"}
        with pytest.raises(pgdbm.MigrationExecutionError):
            await manager(db, failing).apply_pending_migrations()
        assert (await manager(db, failing).status()).migrations[-2].state == "failed"


class TestBaseline:
    FILES = {"1_a.sql": A, "2_b.sql": "CREATE INDEX a_id ON {{tables.a}} (id);", "3_c.sql": B}  # noqa: RUF012

    async def test_a_baseline_is_accepted_where_the_schema_matches_the_files(self, db: AsyncDatabaseManager) -> None:
        await db.execute("CREATE SCHEMA app")
        await db.execute("CREATE TABLE {{tables.a}} (id int PRIMARY KEY)")
        await db.execute("CREATE INDEX a_id ON {{tables.a}} (id)")
        migrations = manager(db, self.FILES)
        assert await migrations.baseline("2") == ["1_a.sql", "2_b.sql"]
        assert [one.state for one in (await migrations.status()).migrations] == ["baseline", "baseline", "pending"]
        assert applied(await migrations.apply_pending_migrations()) == ["3_c.sql"]
        with pytest.raises(pgdbm.MigrationError, match="the beginning of a history"):
            await migrations.baseline("3")

    async def test_a_baseline_is_refused_where_the_schema_differs(self, db: AsyncDatabaseManager) -> None:
        await db.execute("CREATE SCHEMA app")
        await db.execute("CREATE TABLE {{tables.a}} (id bigint PRIMARY KEY)")
        migrations = manager(db, self.FILES)
        with pytest.raises(pgdbm.BaselineMismatchError, match="a_id is missing") as caught:
            await migrations.baseline("2")
        assert {(one.kind, one.object_kind) for one in caught.value.changes} >= {("changed", "column")}
        assert (await migrations.status()).applied == 0
        assert await migrations.baseline("2", check=False) == ["1_a.sql", "2_b.sql"]


class TestRehearsal:
    async def test_a_rehearsal_reports_and_leaves_nothing(self, db: AsyncDatabaseManager) -> None:
        migrations = manager(db, {"1.sql": A, "2.sql": "SELECT 1;\nALTER TABLE {{tables.a}} ADD b int;\nSELECT 1/0"})
        rehearsal = await migrations.rehearse()
        assert rehearsal.failure is not None
        assert (rehearsal.failure.filename, rehearsal.failure.statement) == ("2.sql", 3)
        assert not await db.fetch_value("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname ~ 'app|rehearsal')")


class TestDrift:
    async def test_a_failure_and_a_revert_leave_no_drift(self, db: AsyncDatabaseManager) -> None:
        files = {"1.sql": A, "2.sql": B, "2.down.sql": "DROP TABLE {{tables.b}}", "3.sql": "SELECT 1/0"}
        migrations = manager(db, files)
        with pytest.raises(pgdbm.MigrationExecutionError):
            await migrations.apply_pending_migrations()
        assert (await migrations.drift()).clean
        await migrations.revert()
        assert (await migrations.drift()).clean
        await db.execute("ALTER TABLE {{tables.a}} ADD sneaked int")
        (change,) = (await migrations.drift()).changes
        assert (change.kind, change.object_kind) == ("added", "column")

    async def test_a_file_that_cannot_be_resumed_leaves_no_drift_of_those_before_it(
        self, db: AsyncDatabaseManager
    ) -> None:
        stopped = "-- pgdbm:no-transaction\nSELECT 1;\nSELECT 1/0;"
        with pytest.raises(pgdbm.MigrationExecutionError):
            await manager(db, {"1.sql": A, "3.sql": stopped}).apply_pending_migrations()
        migrations = manager(db, {"1.sql": A, "2.sql": B, "3.sql": stopped.replace("SELECT 1;", "SELECT 2;")})
        with pytest.raises(pgdbm.MigrationError, match="has since been changed in the file"):
            await migrations.apply_pending_migrations()
        assert await names(db) == ["1.sql", "2.sql"]
        assert (await migrations.drift()).clean

    async def test_a_revert_that_stops_leaves_no_drift(self, db: AsyncDatabaseManager) -> None:
        files = {"1.sql": A, "1.down.sql": "SELECT 1/0", "2.sql": B, "2.down.sql": "DROP TABLE {{tables.b}}"}
        migrations = manager(db, files)
        await migrations.apply_pending_migrations()
        with pytest.raises(pgdbm.MigrationExecutionError):
            await migrations.revert(2)
        assert await names(db) == ["1.sql"]
        assert (await migrations.drift()).clean


async def test_the_history_table_of_another_tool_is_refused(db: AsyncDatabaseManager) -> None:
    """The tables of dbmate, golang-migrate and Rails have the same name."""
    await db.execute("CREATE SCHEMA app")
    await db.execute("CREATE TABLE app.schema_migrations (version text PRIMARY KEY)")
    migrations = AsyncMigrationManager(db, {"1.sql": "CREATE TABLE {{tables.t}} ()"}, "m")
    for ask in (
        migrations.apply_pending_migrations,
        migrations.get_pending_migrations,
        migrations.get_applied_migrations,
        migrations.get_migration_history,
        migrations.history,
        migrations.status,
        migrations.plan,
        migrations.repair,
    ):
        with pytest.raises(pgdbm.MigrationError, match=r"not a pgdbm history.*rename theirs.*migrations_table"):
            await ask()
    assert not await db.table_exists("t")
    other = AsyncMigrationManager(db, {"1.sql": "CREATE TABLE {{tables.t}} ()"}, "m", migrations_table="ours")
    assert (await other.apply_pending_migrations())["status"] == "success"


async def test_a_query_that_takes_too_long_is_no_lost_connection(database: str) -> None:
    config = DatabaseConfig(connection_string=database, command_timeout=0.2, min_connections=1, max_connections=2)
    async with AsyncDatabaseManager(config) as db, AsyncDatabaseManager(config) as other:
        migrations = manager(db, {"1.sql": A})
        await migrations.apply_pending_migrations()
        async with other.transaction() as locking:
            await locking.execute("LOCK TABLE schema_migrations")
            with pytest.raises(pgdbm.ConnectionError, match="did not answer within the time limit of a query"):
                await migrations.status()


@pytest.mark.parametrize("option", ["lock_wait_timeout", "lock_timeout", "retry_for"])
@pytest.mark.parametrize("seconds", [-1, float("nan")])
def test_a_time_limit_that_is_not_valid_is_named(db: AsyncDatabaseManager, option: str, seconds: float) -> None:
    with pytest.raises(pgdbm.ConfigurationError, match=f"{option} is {seconds}") as caught:
        manager(db, {}, **{option: seconds})
    assert caught.value.config_field == option
