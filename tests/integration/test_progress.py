"""What a listener hears while a statement works: how far it is, from PostgreSQL's progress views."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, DatabaseConfig

if TYPE_CHECKING:
    from pgdbm.migrations.events import Event

HEAD = "-- pgdbm:no-transaction\n"
# Each row of the index takes its time, so that whatever builds it is seen at it.
SLOW = (
    "CREATE TABLE {{tables.t}} AS SELECT i AS id FROM generate_series(1, 60) AS i;\n"
    "CREATE FUNCTION {{schema}}.slow(int) RETURNS int IMMUTABLE LANGUAGE sql\n"
    "    AS $$SELECT $1 FROM pg_catalog.pg_sleep(0.04)$$;\n"
)
INDEX = "CREATE INDEX t_slow ON {{tables.t}} ({{schema}}.slow(id));\n"
WORK = {
    "create index": (SLOW, INDEX, {"CREATE INDEX"}),
    "create index concurrently": (
        SLOW,
        HEAD + INDEX.replace("CREATE INDEX", "CREATE INDEX CONCURRENTLY"),
        {"CREATE INDEX CONCURRENTLY"},
    ),
    # Both views have it when it comes to the index.
    "vacuum full": (SLOW + INDEX, HEAD + "VACUUM FULL {{tables.t}};", {"VACUUM FULL", "CREATE INDEX"}),
    "vacuum": (
        "CREATE TABLE {{tables.t}} AS SELECT i, repeat('x', 50) FROM generate_series(1, 4000) AS i;\n",
        HEAD + "SET vacuum_cost_delay = 40;\nSET vacuum_cost_limit = 1;\nVACUUM {{tables.t}};",
        {"VACUUM"},
    ),
    "copy": ("CREATE TABLE {{tables.t}} (id int);", "COPY {{tables.t}} FROM PROGRAM 'sleep 2';", {"COPY FROM"}),
}


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("work", WORK)
async def test_how_far_it_is(database: str, work: str, direct: bool) -> None:
    before, text, commands = WORK[work]
    config = DatabaseConfig(
        connection_string=database,
        direct_connection_string=database if direct else None,
        schema="app",
        min_connections=1,
        max_connections=3,
    )
    heard: list[Event] = []
    async with AsyncDatabaseManager(config) as db:
        await AsyncMigrationManager(db, {"1.sql": before}, "m").apply_pending_migrations()
        await AsyncMigrationManager(db, {"2.sql": text}, "m", on_event=heard.append).apply_pending_migrations()
    told: list[dict[str, Any]] = [event.details for event in heard if event.kind == "progress"]
    assert told
    assert {one["command"] for one in told} <= commands
    assert all(one["phase"] for one in told)
    assert all(one["percent"] is None or 0 <= one["percent"] <= 100 for one in told)
