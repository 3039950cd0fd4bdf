"""Backfills: batch by batch, by any unique key, refused where the table cannot be walked, resumed where they were."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from pgdbm import (
    AsyncDatabaseManager,
    AsyncMigrationManager,
    MigrationError,
    MigrationExecutionError,
    MigrationFileError,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from pgdbm.migrations.engine.events import Event

    Connect = Callable[[], AbstractAsyncContextManager[Any]]

ORDERS = """
CREATE TABLE {{tables.orders}} (id bigint PRIMARY KEY, total int NOT NULL, cents bigint);
INSERT INTO {{tables.orders}} SELECT n * 3, n FROM generate_series(1, 1000) AS n;
"""
FILL = """-- pgdbm:backfill table={{tables.orders}} key=id batch=100
UPDATE {{tables.orders}} SET cents = total * 100 WHERE id BETWEEN $from AND $to;
"""


def manager(db: AsyncDatabaseManager, files: dict[str, str], **options: Any) -> AsyncMigrationManager:
    return AsyncMigrationManager(db, files, "orders", **options)


async def apply(db: AsyncDatabaseManager, files: dict[str, str], **options: Any) -> list[str]:
    result = await manager(db, files, **options).apply_pending_migrations()
    return [one["filename"] for one in result["applied"]]


async def state(db: AsyncDatabaseManager) -> dict[str, Any]:
    row = await db.fetch_one("SELECT * FROM {{tables.pgdbm_backfills}}")
    assert row is not None
    return dict(row)


async def test_every_row_is_filled_in_batches(db: AsyncDatabaseManager) -> None:
    events: list[Event] = []
    files = {"001_orders.sql": ORDERS, "012_fill.sql": FILL, "013_after.sql": "SELECT 1"}
    assert await apply(db, files, on_event=events.append) == list(files)
    assert await db.fetch_value("SELECT count(*) FROM {{tables.orders}} WHERE cents = total * 100") == 1000
    end = await state(db)
    assert end["batches"] > 1
    assert (end["walked_rows"], end["changed_rows"], end["position"]) == (1000, 1000, '["3000"]')
    assert end["ended_at"] is not None
    last = [event for event in events if event.kind == "progress"][-1]
    assert (last.filename, last.statement) == ("012_fill.sql", 1)
    assert (last.details["command"], last.details["rows"], last.details["percent"]) == ("BACKFILL", 1000, 100.0)
    assert last.details["rows_per_s"] > 0
    assert await apply(db, files) == []


async def test_a_table_without_rows(db: AsyncDatabaseManager) -> None:
    empty = ORDERS.partition("INSERT")[0]
    assert await apply(db, {"001_orders.sql": empty, "012_fill.sql": FILL}) == ["001_orders.sql", "012_fill.sql"]


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("k uuid", "md5(n::text)::uuid"),
        ('k text COLLATE "C"', "repeat(chr(39), n % 3) || chr(92) || n"),
        ("k timestamptz", "timestamptz '1999-12-31 23:59:59.123456+00' + n * interval '1.000001 s'"),
        ("k date", "date '2000-01-01' + n"),
        ("k numeric", "n / 3.0 + 12345678901234567890"),
        ("k float8", "n / 3.0::float8"),
        ("k inet", "inet '10.0.0.0' + n"),
        ("k bytea", "decode(md5(n::text), 'hex')"),
        ("k varchar(40)", "n::text"),
        ('"Order no" int', "n"),
    ],
)
async def test_a_key_of_any_type(db: AsyncDatabaseManager, key: str, values: str) -> None:
    name = '"Order no"' if key.startswith('"') else "k"
    files = {
        "001_t.sql": f"CREATE TABLE {{{{tables.t}}}} ({key} PRIMARY KEY, touched int NOT NULL DEFAULT 0);"
        f"INSERT INTO {{{{tables.t}}}} SELECT {values} FROM generate_series(1, 60) AS n",
        "012_fill.sql": f"-- pgdbm:backfill table={{{{tables.t}}}} key={name} batch=7\n"
        f"UPDATE {{{{tables.t}}}} SET touched = touched + 1 WHERE {name} BETWEEN $from AND $to",
    }
    await apply(db, files)
    assert await db.fetch_value("SELECT count(*) FROM {{tables.t}} WHERE touched = 1") == 60


async def test_a_key_of_several_columns_in_a_partitioned_table(db: AsyncDatabaseManager) -> None:
    files = {
        "001_t.sql": """
        CREATE TABLE {{tables.t}} (tenant int, id int, touched int NOT NULL DEFAULT 0, PRIMARY KEY (tenant, id))
            PARTITION BY HASH (tenant);
        CREATE TABLE {{tables.t_0}} PARTITION OF {{tables.t}} FOR VALUES WITH (MODULUS 2, REMAINDER 0);
        CREATE TABLE {{tables.t_1}} PARTITION OF {{tables.t}} FOR VALUES WITH (MODULUS 2, REMAINDER 1);
        INSERT INTO {{tables.t}} SELECT n % 5, n FROM generate_series(1, 200) AS n;
        """,
        "012_fill.sql": """-- pgdbm:backfill table={{tables.t}} key=tenant,id batch=9
        UPDATE {{tables.t}} SET touched = touched + 1 WHERE (tenant, id) BETWEEN $from AND $to""",
    }
    await apply(db, files)
    assert await db.fetch_value("SELECT count(*) FROM {{tables.t}} WHERE touched = 1") == 200


async def test_deleting_and_copying_in_batches(db: AsyncDatabaseManager) -> None:
    files = {
        "001_orders.sql": ORDERS + "CREATE TABLE {{tables.copy}} (LIKE {{tables.orders}} INCLUDING ALL);",
        "012_copy.sql": """-- pgdbm:backfill table={{tables.orders}} key=id batch=90
        INSERT INTO {{tables.copy}} SELECT * FROM {{tables.orders}} WHERE id BETWEEN $from AND $to""",
        "013_delete.sql": """-- pgdbm:backfill table={{tables.orders}} key=id batch=90
        DELETE FROM {{tables.orders}} WHERE id BETWEEN $from AND $to AND total > 10""",
    }
    await apply(db, files)
    assert await db.fetch_value("SELECT count(*) FROM {{tables.copy}}") == 1000
    assert await db.fetch_value("SELECT count(*) FROM {{tables.orders}}") == 10


async def test_rows_behind_the_last_key_are_not_walked(db: AsyncDatabaseManager) -> None:
    """Rows inserted later are not walked: otherwise a statement that inserts into its own table would never end."""
    files = {
        "001_orders.sql": ORDERS,
        "012_more.sql": """-- pgdbm:backfill table={{tables.orders}} key=id batch=100
        INSERT INTO {{tables.orders}} SELECT id + 3000, total FROM {{tables.orders}} WHERE id BETWEEN $from AND $to""",
    }
    await apply(db, files)
    assert await db.fetch_value("SELECT count(*) FROM {{tables.orders}}") == 2000


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("CREATE TABLE {{tables.orders}} (id bigint, total int, cents int)", "can be null"),
        ("CREATE TABLE {{tables.orders}} (id bigint NOT NULL, total int, cents int)", "has no unique index on"),
        ("CREATE TABLE {{tables.orders}} (x bigint PRIMARY KEY, total int, cents int)", "has no column id"),
        (
            "CREATE TABLE {{tables.orders}} (id bigint NOT NULL, total int, cents int, UNIQUE (total, id))",
            "has no unique index on",
        ),
        (
            "CREATE TABLE {{tables.orders}} (id bigint NOT NULL, total int, cents int, UNIQUE (id) DEFERRABLE)",
            "has no unique index on",
        ),
        (
            "CREATE TABLE {{tables.orders}} (id bigint NOT NULL, total int, cents int);"
            "CREATE UNIQUE INDEX ON {{tables.orders}} (id) WHERE total > 0",
            "has no unique index on",
        ),
        ("CREATE VIEW {{tables.orders}} AS SELECT 1 AS id, 1 AS total, 1 AS cents", "not a plain or partitioned table"),
        ("SELECT 1", "there is no table"),
    ],
)
async def test_what_cannot_be_walked_is_refused_before_anything_runs(
    db: AsyncDatabaseManager, table: str, reason: str
) -> None:
    await apply(db, {"001_orders.sql": table})
    files = {"001_orders.sql": table, "002_other.sql": "CREATE TABLE {{tables.other}} (id int)", "012_fill.sql": FILL}
    pattern = rf"^012_fill.sql:1:1: .*{reason}"
    with pytest.raises(MigrationFileError, match=pattern) as raised:
        await apply(db, files)
    assert (raised.value.migration_file, raised.value.line) == ("012_fill.sql", 1)
    assert await db.fetch_value("SELECT to_regclass('app.other') IS NULL")
    with pytest.raises(MigrationFileError, match=pattern):
        await manager(db, files).plan()
    with pytest.raises(MigrationFileError, match=pattern):
        await manager(db, files).apply_pending_migrations(dry_run=True)


async def test_a_failed_batch_is_reported_with_its_position_and_run_again(db: AsyncDatabaseManager) -> None:
    divided = FILL.replace("total * 100", "100 / (total - 350)").replace("batch=100", "batch=100 target=1min")
    files = {"001_orders.sql": ORDERS, "012_fill.sql": divided}
    with pytest.raises(MigrationExecutionError, match="division by zero") as raised:
        await apply(db, files)
    assert (raised.value.line, raised.value.statement, raised.value.transactional) == (2, 1, False)
    assert await db.fetch_value("SELECT count(*) FROM {{tables.orders}} WHERE cents IS NOT NULL") == 300
    statuses = {one.filename: one.state for one in (await manager(db, files).status()).migrations}
    assert statuses["012_fill.sql"] == "partial"
    await db.execute("CREATE UNIQUE INDEX ON {{tables.orders}} (total)")
    with pytest.raises(MigrationError, match="Restore the header"):
        await apply(db, files | {"012_fill.sql": FILL.replace("key=id", "key=total")})
    assert await apply(db, files | {"012_fill.sql": FILL}) == ["012_fill.sql"]
    assert await db.fetch_value("SELECT count(*) FROM {{tables.orders}} WHERE cents = total * 100") == 700
    events = [one.event for one in await manager(db, files).journal()]
    assert events == ["finished", "applied", "failed"]


async def test_the_key_can_be_changed_before_the_first_batch(db: AsyncDatabaseManager) -> None:
    indexes = "CREATE UNIQUE INDEX ON {{tables.orders}} (total); CREATE UNIQUE INDEX ON {{tables.orders}} (total, id);"
    first = FILL.replace("key=id", "key=total").replace("WHERE id", "WHERE total")
    files = {"001_orders.sql": ORDERS + indexes, "012_fill.sql": first.replace("total * 100", "1 / 0")}
    with pytest.raises(MigrationExecutionError, match="division by zero"):
        await apply(db, files)
    by_two = FILL.replace("key=id", "key=total,id").replace("WHERE id", "WHERE (total, id)")
    assert await apply(db, files | {"012_fill.sql": by_two}) == ["012_fill.sql"]
    assert (await state(db))["walked_rows"] == 1000
    assert await db.fetch_value("SELECT count(*) FROM {{tables.orders}} WHERE cents IS NULL") == 0


async def test_a_misspelt_column_is_found_in_the_file(db: AsyncDatabaseManager) -> None:
    files = {"001_orders.sql": ORDERS, "012_fill.sql": FILL.replace("$from AND $to", "$from AND $to AND totl > 0")}
    with pytest.raises(MigrationExecutionError) as raised:
        await apply(db, files)
    line = files["012_fill.sql"].splitlines()[1]
    assert (raised.value.line, raised.value.column) == (
        2,
        line.index("totl") - len("{{tables.orders}}") + len("{{tables.orders}}") + 1,
    )


async def test_what_was_marked_as_not_applied_runs_from_the_beginning(db: AsyncDatabaseManager) -> None:
    files = {"001_orders.sql": ORDERS, "012_fill.sql": FILL}
    await apply(db, files)
    await db.execute("UPDATE {{tables.orders}} SET cents = NULL")
    await manager(db, files).mark("012_fill.sql", applied=False)
    assert await apply(db, files) == ["012_fill.sql"]
    assert await db.fetch_value("SELECT count(*) FROM {{tables.orders}} WHERE cents IS NULL") == 0


async def test_a_verification_that_finds_a_row_fails_the_file(db: AsyncDatabaseManager) -> None:
    verified = FILL + "-- pgdbm:verify\nSELECT id FROM {{tables.orders}} WHERE cents IS NULL OR total = 5"
    files = {"001_orders.sql": ORDERS, "012_fill.sql": verified}
    with pytest.raises(MigrationExecutionError, match="the query returned a row") as raised:
        await apply(db, files)
    assert (raised.value.statement, raised.value.line, raised.value.detail) == (2, 4, "id=15")
    await db.execute("UPDATE {{tables.orders}} SET total = 6 WHERE total = 5")
    assert await apply(db, files) == ["012_fill.sql"]


async def test_a_file_that_verifies(db: AsyncDatabaseManager) -> None:
    files = {
        "001_orders.sql": ORDERS,
        "002_check.sql": "-- pgdbm:verify\nSELECT id, total FROM {{tables.orders}} WHERE cents IS NULL ORDER BY id",
    }
    for listener in (None, lambda _: None):
        with pytest.raises(MigrationExecutionError, match=r"002_check.sql:2:1.*rolled back.\nDetail: id=3, total=1$"):
            await apply(db, files, on_event=listener)
    assert (await manager(db, files).journal())[0].event == "failed"
    await db.execute("UPDATE {{tables.orders}} SET cents = 0")
    assert await apply(db, files) == ["002_check.sql"]


async def test_a_rehearsal_and_a_plan_of_a_backfill(db: AsyncDatabaseManager) -> None:
    files = {"001_orders.sql": ORDERS, "012_fill.sql": FILL}
    rehearsal = await manager(db, files).rehearse()
    assert rehearsal.succeeded, rehearsal
    plan = await manager(db, files).plan()
    assert not plan.pending[1].transactional
    assert plan.pending[1].findings == ()


async def test_a_module_with_a_role(db: AsyncDatabaseManager, connect: Connect) -> None:
    async with connect() as connection:
        name = f"filler_{await connection.fetchval('SELECT pg_backend_pid()')}"
        await connection.execute(f"CREATE ROLE {name}")
    files = {"001_orders.sql": ORDERS.replace("cents bigint", "cents bigint, who text"), "012_fill.sql": FILL}
    files["012_fill.sql"] = FILL.replace("total * 100", "total * 100, who = current_user")
    try:
        assert await apply(db, files, role=name) == list(files)
        assert await db.fetch_all("SELECT DISTINCT who FROM {{tables.orders}}") == [{"who": name}]
        owner = "SELECT pg_get_userbyid(relowner)::text FROM pg_class WHERE oid = 'app.pgdbm_backfills'::regclass"
        assert await db.fetch_value(owner) != name
    finally:
        async with connect() as connection:
            await connection.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")


async def test_a_lock_that_is_held_is_waited_for(db: AsyncDatabaseManager, connect: Connect) -> None:
    events: list[Event] = []
    files = {"001_orders.sql": ORDERS, "012_fill.sql": FILL}
    await apply(db, {"001_orders.sql": ORDERS})
    async with connect() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("UPDATE app.orders SET total = total WHERE id = 600")
        run = asyncio.create_task(apply(db, files, on_event=events.append, lock_timeout=0.1))
        while not any(event.kind == "retrying" for event in events):
            await asyncio.sleep(0.01)
        await transaction.rollback()
        assert await run == ["012_fill.sql"]
    assert (await state(db))["changed_rows"] == 1000
    assert "retried" in [one.event for one in await manager(db, files).journal()]
