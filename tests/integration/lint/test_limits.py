"""The limits of a module: a plan that does more is refused before anything runs, with a hint."""

from __future__ import annotations

from typing import Any

import pytest

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, PlanRefusedError
from pgdbm.migrations import PlanLimits
from pgdbm.migrations.results import bytes_of

TABLE = {
    "001.sql": "CREATE TABLE {{tables.t}} AS SELECT i AS id, i::text AS x FROM generate_series(1, 2000) i; ANALYZE"
}
TYPE = "ALTER TABLE {{tables.t}} ALTER id TYPE bigint"
CHECK = "ALTER TABLE {{tables.t}} ADD CHECK (id > 0)"
INDEX = "CREATE INDEX i ON {{tables.t}} (id)"


async def migrated(db: AsyncDatabaseManager, sql: str, **limits: Any) -> AsyncMigrationManager:
    await AsyncMigrationManager(db, TABLE, "m").apply_pending_migrations()
    return AsyncMigrationManager(db, TABLE | {"002.sql": f"SELECT 1;\n{sql}"}, "m", limits=PlanLimits(**limits))


@pytest.mark.parametrize(
    ("sql", "limits", "said", "hint"),
    [
        (TYPE, {"max_rewrite": 1000}, "may rewrite app.t (2.0 k rows, ", "Add a column of the new type"),
        (
            f"-- pgdbm:ignore PGDBM005 it is small\n{TYPE}",
            {"max_rewrite": 1000},
            "and max_rewrite allows 1.0 kB.",
            "Add a column of the new type",
        ),
        (CHECK, {"max_blocked": "writes"}, "while reads and writes wait, and max_blocked allows writes.", "002.1.sql"),
        (INDEX, {"max_blocked": "nothing"}, "builds an index of app.t (2.0 k rows, ", "pgdbm migrate fix"),
        (INDEX, {"findings": "refuse"}, "PGDBM009: Writes to app.t are blocked", "-- pgdbm:ignore PGDBM009"),
    ],
)
async def test_what_is_not_allowed_is_refused(
    db: AsyncDatabaseManager, sql: str, limits: dict[str, Any], said: str, hint: str
) -> None:
    manager = await migrated(db, sql, **limits)
    with pytest.raises(PlanRefusedError) as refused:
        await manager.apply_pending_migrations()
    error = refused.value
    assert said in error.message
    assert hint in error.hint
    assert (error.limit, error.statement) == (next(iter(limits)), 2)
    assert error.line == sql.count("\n") + 2
    assert len(await manager.get_pending_migrations()) == 1
    plan = await manager.plan(squawk=False)
    assert plan.refusal is not None
    assert plan.refusal.fields() == error.fields()


@pytest.mark.parametrize(
    ("sql", "limits"),
    [
        (TYPE, {"max_rewrite": 10**9}),
        (INDEX, {"max_blocked": "writes"}),
        ("ALTER TABLE {{tables.t}} ADD y int", {"max_blocked": "nothing", "max_rewrite": 0}),
        (f"-- pgdbm:ignore PGDBM009 small\n{INDEX}", {"findings": "refuse"}),
        ("CREATE TABLE {{tables.u}} (id int); ALTER TABLE {{tables.u}} ADD CHECK (id > 0)", {"max_blocked": "nothing"}),
    ],
)
async def test_what_is_allowed_is_applied(db: AsyncDatabaseManager, sql: str, limits: dict[str, Any]) -> None:
    manager = await migrated(db, sql, **limits)
    assert (await manager.plan(squawk=False)).refusal is None
    assert (await manager.apply_pending_migrations())["status"] == "success"


def test_the_stricter_of_two_limits_counts() -> None:
    ours = PlanLimits(max_rewrite=5, max_blocked="writes")
    theirs = PlanLimits(max_blocked="reads and writes", findings="refuse")
    both = PlanLimits(5, "writes", "refuse")
    assert ours.with_stricter(theirs) == both == theirs.with_stricter(ours)


def test_sizes() -> None:
    assert [bytes_of(text) for text in ("1GB", "500 MB", "10kB")] == [10**9, 500 * 10**6, 10**4]
    for text in ("", "1", "GB", "-1GB", "1.5GB", "1 gb"):
        with pytest.raises(ValueError, match="is not a size"):
            bytes_of(text)
