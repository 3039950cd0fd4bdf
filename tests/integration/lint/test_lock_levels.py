"""The locks that :mod:`pgdbm.pgparse.lock_levels` predicts, compared with those that a server takes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import postgast
import pytest

from pgdbm.migrations.lint.findings import inspect
from pgdbm.migrations.sources.migration import read_migration
from pgdbm.migrations.sources.parser import parse_file
from pgdbm.pgparse.lock_levels import LockMode, StatementLock, locks_of

from .lock_statements import IN_TRANSACTION, OUTSIDE, SETUP, SINCE

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

# Indexes and the sequences of identity columns follow their tables, and are not listed unless they are named.
_RELATIONS = """
SELECT c.oid, n.nspname || '.' || c.relname AS name,
    c.relkind IN ('i', 'I') OR EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = c.oid AND d.deptype = 'i')
        AS follows
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'app'
"""
_HELD = """
SELECT relation, mode FROM pg_catalog.pg_locks
WHERE pid = pg_catalog.pg_backend_pid() AND locktype = 'relation' AND granted
"""
_WAITING = """
SELECT mode FROM pg_catalog.pg_locks WHERE pid = $1 AND relation = $2::text::regclass AND NOT granted
"""


def predicted(statement: str, version: int) -> tuple[StatementLock, ...]:
    (raw,) = postgast.parse(statement).stmts
    kind = raw.stmt.WhichOneof("node")
    return locks_of(kind, getattr(raw.stmt, kind), version)


async def test_locks_in_a_transaction(connect: Callable[[], AbstractAsyncContextManager[Any]]) -> None:
    """Every lock on an existing relation is predicted, and every predicted lock on a named relation is taken."""
    wrong = []
    reached: set[str] = set()
    async with connect() as connection:
        await connection.execute(SETUP)
        version = connection.get_server_version().major
        relations = {row["oid"]: row for row in await connection.fetch(_RELATIONS)}
        statements = [*IN_TRANSACTION, *(s for since, known in SINCE.items() if since <= version for s in known)]
        for statement in statements:
            transaction = connection.transaction()
            await transaction.start()
            try:
                await connection.execute(statement)
                held = await connection.fetch(_HELD)
            except asyncpg.PostgresError as error:
                wrong.append(f"{statement}\n    {error}")
                continue
            finally:
                await transaction.rollback()
            taken: dict[str, LockMode] = {}
            followers: set[LockMode] = set()
            locks = predicted(statement, version)
            named = {lock.relation: lock.mode for lock in locks if lock.relation is not None}
            for row in held:
                relation = relations.get(row["relation"])
                if relation is None:
                    continue
                mode = LockMode.from_pg_locks(row["mode"])
                if relation["follows"] and relation["name"] not in named:
                    followers.add(mode)
                else:
                    taken[relation["name"]] = max(mode, taken.get(relation["name"], mode))
            unnamed = {lock.mode for lock in locks if lock.relation is None}
            others = {mode for name, mode in taken.items() if name not in named}
            expected = {name: mode for name, mode in named.items() if "nothing_of_that_name" not in name}
            if {name: mode for name, mode in taken.items() if name in named} != expected or not others <= unnamed:
                wrong.append(f"{statement}\n    said  {locks}\n    taken {taken}")
            if unnamed & (others | followers):
                reached.add(_first_words(statement))
    assert not wrong, "\n".join(wrong)
    missed = {_first_words(s) for s in statements if any(x.relation is None for x in predicted(s, version))} - reached
    assert not missed, f"said to lock relations that are not named, and never seen to do so: {missed}"


def test_every_statement_can_be_inspected() -> None:
    statements = [*IN_TRANSACTION, *(s for known in SINCE.values() for s in known), *(s for s, *_ in OUTSIDE)]
    content = "-- pgdbm:no-transaction\n" + ";\n".join(s for s in statements if not s.startswith("COPY"))
    (one,) = inspect([parse_file(read_migration("all.sql", content.encode()), "app")], 18, schema="app", squawk=False)
    assert [(s.kind.split()[0], s.line) for s in one.statements] == [
        (
            statement.split()[0]
            .strip("(")
            .replace("TABLE", "SELECT")
            .replace("VALUES", "SELECT")
            .replace("WITH", "INSERT"),
            line,
        )
        for line, statement in enumerate((s for s in statements if not s.startswith("COPY")), 2)
    ]


def _first_words(statement: str) -> str:
    return " ".join(statement.split()[:2])


@pytest.mark.parametrize(("statement", "relation", "held"), OUTSIDE)
async def test_locks_outside_transactions(
    statement: str, relation: str, held: str, connect: Callable[[], AbstractAsyncContextManager[Any]]
) -> None:
    """The mode that a statement waits for while another session holds the relation."""
    async with connect() as holder, connect() as runner:
        await holder.execute(SETUP)
        async with holder.transaction():
            await holder.execute(f"LOCK TABLE {relation} IN {held} MODE")
            running = asyncio.create_task(runner.execute(statement))
            mode = await _wanted(holder, runner.get_server_pid(), relation, running)
            await holder.execute("SELECT pg_cancel_backend($1)", runner.get_server_pid())
            with pytest.raises(asyncpg.QueryCanceledError):
                await running
        said = {lock.relation: lock.mode for lock in predicted(statement, runner.get_server_version().major)}
    if relation in said:
        assert mode == said[relation]
    else:
        assert mode <= said[None]


async def test_finishing_a_detached_partition(connect: Callable[[], AbstractAsyncContextManager[Any]]) -> None:
    statement = "ALTER TABLE app.parent DETACH PARTITION app.part"
    async with connect() as holder, connect() as runner:
        await holder.execute(SETUP)
        async with holder.transaction():
            await holder.execute("LOCK TABLE app.part IN ACCESS SHARE MODE")
            running = asyncio.create_task(runner.execute(f"{statement} CONCURRENTLY"))
            await _wanted(holder, runner.get_server_pid(), "app.part", running)
            await holder.execute("SELECT pg_cancel_backend($1)", runner.get_server_pid())
            with pytest.raises(asyncpg.QueryCanceledError):
                await running
        names = {row["oid"]: row["name"] for row in await runner.fetch(_RELATIONS)}
        async with runner.transaction():
            await runner.execute(f"{statement} FINALIZE")
            held = [
                (names.get(row["relation"]), LockMode.from_pg_locks(row["mode"])) for row in await runner.fetch(_HELD)
            ]
        for lock in predicted(f"{statement} FINALIZE", 18):
            if lock.relation is not None:
                assert lock.mode == max(mode for name, mode in held if name == lock.relation)


async def _wanted(holder: Any, pid: int, relation: str, running: asyncio.Task[Any]) -> LockMode:
    for _ in range(1000):
        mode = await holder.fetchval(_WAITING, pid, relation)
        if mode is not None:
            return LockMode.from_pg_locks(mode)
        assert not running.done(), f"did not wait for {relation}"
        await asyncio.sleep(0.01)
    raise AssertionError(f"never waited for {relation}")
