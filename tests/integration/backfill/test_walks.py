"""The walk of a backfill costs the same everywhere in a table, whatever it has left behind."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pgdbm.migrations.backfill.walk import walk_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractAsyncContextManager

_ROWS = 20_000
_BATCH = 500
_PLACES = {"start": 0.0, "middle": 0.5, "end": 0.95}


class Explaining:
    """A connection that notes the plan of what is sent, and how many blocks it used."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.plans: list[dict[str, Any]] = []

    async def fetchrow(self, sql: str, *values: Any) -> Any:
        explained = await self._connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", *values)
        self.plans.append(json.loads(explained)[0]["Plan"])
        return await self._connection.fetchrow(sql, *values)

    @property
    def blocks(self) -> int:
        plan = self.plans[-1]
        return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def nodes(plan: dict[str, Any]) -> Iterator[str]:
    yield plan["Node Type"]
    for below in plan.get("Plans", ()):
        yield from nodes(below)


@pytest.mark.parametrize("is_updated", [True, False], ids=["with dead rows", "as it was filled"])
@pytest.mark.parametrize("key", ["id", "tenant, id"])
async def test_a_batch_reads_as_many_blocks_at_the_end_as_at_the_start(
    connect: Callable[[], AbstractAsyncContextManager[Any]], key: str, is_updated: bool
) -> None:
    async with connect() as connection:
        await connection.execute(
            f"CREATE TABLE t (tenant int, id int, note int, PRIMARY KEY ({key})) WITH (autovacuum_enabled = false);"
            f"INSERT INTO t SELECT n / 1000, n FROM generate_series(1, {_ROWS}) AS n;"
        )
        await connection.execute("VACUUM ANALYZE t")
        if is_updated:
            await connection.execute("UPDATE t SET note = 1")
        explaining = Explaining(connection)
        walk = await walk_of(connection, "t", tuple(key.split(", ")))
        assert walk is not None
        keys = await walk.both_keys(connection)
        assert keys is not None
        blocks = {}
        for place, share in _PLACES.items():
            row = int(_ROWS * share)
            position = None if not row else json.dumps([str(row // 1000), str(row)][-len(walk.key) :])
            batch = await explaining.fetchrow(walk.sql_of_next_batch(position), position, keys[1], _BATCH)
            assert batch["rows"] == _BATCH
            assert json.loads(batch["first"])[-1] == str(row + 1)
            assert not {"Seq Scan", "Bitmap Heap Scan"} & set(nodes(explaining.plans[-1])), place
            blocks[place] = explaining.blocks
        cursor = "(SELECT NULL::jsonb AS position, $1::jsonb AS last_key OFFSET 0) AS b"
        first_batch = f"SELECT batch.* FROM {cursor}, LATERAL ({walk.sql_of_first_batch('b', '$2::bigint')}) AS batch"
        batch = await explaining.fetchrow(first_batch, keys[1], _BATCH)
        assert (batch["rows"], json.loads(batch["first"])[-1]) == (_BATCH, "1")
        assert not {"Seq Scan", "Bitmap Heap Scan"} & set(nodes(explaining.plans[-1]))
        assert explaining.blocks <= blocks["start"] + 5
    assert max(blocks.values()) <= min(blocks.values()) * 1.3 + 5, blocks
