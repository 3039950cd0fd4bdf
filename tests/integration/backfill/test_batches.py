"""A batch is one message: no row is locked while the server waits for the runner."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, MigrationExecutionError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    Connect = Callable[[], AbstractAsyncContextManager[Any]]

ORDERS = """
CREATE TABLE {{tables.orders}} (id bigint PRIMARY KEY, touched int NOT NULL DEFAULT 0);
INSERT INTO {{tables.orders}} (id) SELECT n FROM generate_series(1, 100) AS n;
"""
FILL = """-- pgdbm:backfill table={{tables.orders}} key=id batch=10
UPDATE {{tables.orders}} SET touched = touched + 1 WHERE id BETWEEN $from AND $to;
"""
TRIGGER = """
CREATE FUNCTION {{{{schema}}}}.react() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} RETURN NEW; END $$;
CREATE {kind} TRIGGER react {when} UPDATE ON {{{{tables.orders}}}} {deferred}
    FOR EACH ROW WHEN (NEW.id = 15) EXECUTE FUNCTION {{{{schema}}}}.react();
"""


async def apply(db: AsyncDatabaseManager, files: dict[str, str], **options: Any) -> list[str]:
    result = await AsyncMigrationManager(db, files, "orders", **options).apply_pending_migrations()
    return [one["filename"] for one in result["applied"]]


async def state(db: AsyncDatabaseManager) -> dict[str, Any]:
    row = await db.fetch_one("SELECT * FROM {{tables.pgdbm_backfills}}")
    assert row is not None
    return dict(row)


async def touches(db: AsyncDatabaseManager) -> list[tuple[int, int]]:
    rows = await db.fetch_all("SELECT touched, count(*) AS rows FROM {{tables.orders}} GROUP BY 1 ORDER BY 1")
    return [(row["touched"], row["rows"]) for row in rows]


@pytest.mark.parametrize("has_role", [False, True], ids=["own user", "a role"])
async def test_the_transaction_of_a_batch_ends_with_its_message(
    database: str, connect: Connect, has_role: bool
) -> None:
    sent: list[tuple[str, bool]] = []

    async def note(connection: Any) -> None:
        connection.add_query_logger(lambda query: sent.append((query.query, connection.is_in_transaction())))

    async with asyncpg.create_pool(database, min_size=1, max_size=2, init=note) as pool, connect() as connection:
        role = f"filler_{await connection.fetchval('SELECT pg_backend_pid()')}" if has_role else None
        if role is not None:
            await connection.execute(f"CREATE ROLE {role}")
        db = AsyncDatabaseManager(pool=pool, schema="app")
        await apply(db, {"001_orders.sql": ORDERS, "012_fill.sql": FILL}, role=role)
        assert await touches(db) == [(1, 100)]
        batches = (await state(db))["batches"]
        if role is not None:
            await connection.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")
    found = [is_open for query, is_open in sent if "touched + 1" in query]
    assert found == [False] * batches


async def test_no_batch_is_searched_for_after_the_last_key(database: str) -> None:
    sent: list[str] = []

    async def note(connection: Any) -> None:
        connection.add_query_logger(lambda query: sent.append(query.query))

    async with asyncpg.create_pool(database, min_size=1, max_size=2, init=note) as pool:
        db = AsyncDatabaseManager(pool=pool, schema="app")
        await apply(db, {"001_orders.sql": ORDERS, "012_fill.sql": FILL})
        found = await state(db)
    # The first one is found when it starts.
    assert len([query for query in sent if "AS have_waited" in query]) == found["batches"] - 1
    assert found["changed_rows"] == 100


async def test_a_session_that_waits_for_rows_halves_the_next_batch(db: AsyncDatabaseManager, connect: Connect) -> None:
    waiting_trigger = TRIGGER.format(
        kind="", when="BEFORE", deferred="", body="PERFORM pg_advisory_xact_lock(7);"
    ).replace("15", "5")
    files = {"001_orders.sql": ORDERS + waiting_trigger}
    files["012_fill.sql"] = FILL.replace("batch=10", "batch=10 target=1min")
    async with connect() as holder, connect() as writer:
        await holder.execute("SELECT pg_advisory_lock(7)")
        run = asyncio.create_task(apply(db, files))
        locks = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = $1"
        while not await holder.fetchval(locks, "advisory"):
            assert not run.done(), await run
            await asyncio.sleep(0.01)
        writing = asyncio.create_task(writer.execute("UPDATE app.orders SET touched = touched WHERE id = 1"))
        while not await holder.fetchval(locks, "transactionid"):
            await asyncio.sleep(0.01)
        await holder.execute("SELECT pg_advisory_unlock(7)")
        await asyncio.gather(run, writing)
    assert await touches(db) == [(1, 100)]
    # 10 rows; 10 where there would be 20; 20, 40 and the rest. No one waits for the later ones.
    assert (await state(db))["batches"] == 5


async def test_batches_without_anyone_who_waits_become_larger(db: AsyncDatabaseManager) -> None:
    await apply(db, {"001_orders.sql": ORDERS, "012_fill.sql": FILL.replace("batch=10", "batch=10 target=1min")})
    # 10, 20, 40 and the rest.
    assert (await state(db))["batches"] == 4


async def test_a_batch_whose_position_another_runner_has_moved_is_rolled_back(db: AsyncDatabaseManager) -> None:
    """As if another runner had processed a batch in between: once, since a sequence is not rolled back."""
    body = """
        IF nextval('app.turns') = 1 THEN UPDATE app.pgdbm_backfills SET batches = batches + 1; END IF;
    """
    trigger = TRIGGER.format(kind="", when="BEFORE", deferred="", body=body)
    files = {"001_orders.sql": f"CREATE SEQUENCE {{{{schema}}}}.turns;{ORDERS}{trigger}", "012_fill.sql": FILL}
    assert await apply(db, files) == ["001_orders.sql", "012_fill.sql"]
    assert await db.fetch_value("SELECT last_value FROM app.turns") == 2
    assert await touches(db) == [(1, 100)]
    assert (await state(db))["changed_rows"] == 100


async def test_a_deferred_trigger_that_fails_is_no_failure_of_another_runner(db: AsyncDatabaseManager) -> None:
    trigger = TRIGGER.format(
        kind="CONSTRAINT",
        when="AFTER",
        deferred="DEFERRABLE INITIALLY DEFERRED",
        body="RAISE EXCEPTION 'not row %', NEW.id;",
    )
    with pytest.raises(MigrationExecutionError, match="not row 15") as raised:
        await apply(db, {"001_orders.sql": ORDERS + trigger, "012_fill.sql": FILL})
    assert (raised.value.statement, raised.value.sqlstate) == (None, "P0001")
    assert await touches(db) == [(0, 90), (1, 10)]


_OTHER = "CREATE TABLE {{tables.other}} (id bigint, note text DEFAULT 'none');"


@pytest.mark.parametrize(
    ("more", "statement"),
    [
        pytest.param("", f"{FILL.partition(';')[0]} RETURNING id, id AS id;", id="RETURNING"),
        pytest.param("", FILL.replace(";", " -- every row"), id="a comment at the end"),
        pytest.param(
            "CREATE RULE noted AS ON UPDATE TO {{tables.orders}} "
            "DO ALSO INSERT INTO {{tables.other}} VALUES (OLD.id, 'noted');",
            FILL,
            id="a rule",
        ),
        pytest.param(
            "",
            FILL.replace(
                "UPDATE", "WITH moved AS (INSERT INTO {{tables.other}} VALUES (1) RETURNING id)\nUPDATE"
            ).replace(";", " AND EXISTS (SELECT FROM moved);"),
            id="a part that changes rows",
        ),
        pytest.param(
            "",
            FILL.replace("UPDATE", "WITH one AS (SELECT 1 AS n)\nUPDATE").replace("+ 1", "+ (SELECT n FROM one)"),
            id="a part that reads",
        ),
        pytest.param(
            "CREATE VIEW {{schema}}.seen AS SELECT id, touched FROM {{tables.orders}};"
            "CREATE RULE through AS ON UPDATE TO {{schema}}.seen "
            "DO INSTEAD UPDATE {{tables.orders}} SET touched = NEW.touched WHERE id = NEW.id;",
            FILL.replace("UPDATE {{tables.orders}}", "UPDATE {{schema}}.seen"),
            id="a view with a rule",
        ),
    ],
)
async def test_changed_rows_are_counted_in_any_form_of_a_statement(
    db: AsyncDatabaseManager, more: str, statement: str
) -> None:
    files = {"001_orders.sql": ORDERS + _OTHER + more, "012_fill.sql": statement}
    assert await apply(db, files) == list(files)
    assert await touches(db) == [(1, 100)]
    end = await state(db)
    assert (end["walked_rows"], end["changed_rows"], end["rows_per_s"] > 0) == (100, 100, True)


async def test_an_error_of_a_statement_that_cannot_be_counted_has_its_position(db: AsyncDatabaseManager) -> None:
    with_part = FILL.replace("UPDATE", "WITH moved AS (INSERT INTO {{tables.other}} VALUES (1))\nUPDATE")
    files = {"001_orders.sql": ORDERS + _OTHER, "012_fill.sql": with_part.replace("touched + 1", "tuched + 1")}
    with pytest.raises(MigrationExecutionError, match='"tuched" does not exist') as raised:
        await apply(db, files)
    line = files["012_fill.sql"].splitlines()[2]
    assert (raised.value.line, raised.value.column) == (3, line.index("tuched") + 1)
