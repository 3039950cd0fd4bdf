"""How long a reader that asks every 5 ms is held up while migrations are applied."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager

from .schema_changes import SETUP

if TYPE_CHECKING:
    from collections.abc import Mapping

    import asyncpg

_PAUSE_S = 0.005
_FILL = (
    "INSERT INTO {{tables.big}} SELECT i, i, i %% 100, 'name ' || i, 1 + i %% 100, NULL, 'w'"
    " FROM generate_series(1, %d) i;\nANALYZE {{tables.big}};"
)


@dataclass(frozen=True)
class Measured:
    """Seconds that the slowest read took, and that the migrations took; ``reads`` that were answered."""

    longest_read_s: float
    total_s: float
    reads: int


async def prepared(db: AsyncDatabaseManager, rows: int) -> dict[str, str]:
    """The applied files of a module with a table of so many rows."""
    files = {"001_setup.sql": SETUP, "002_rows.sql": _FILL % rows}
    await AsyncMigrationManager(db, files, "m", snapshots=False).apply_pending_migrations()
    return files


async def measured(db: AsyncDatabaseManager, files: Mapping[str, str], reader: asyncpg.Connection[Any]) -> Measured:
    """Apply ``files`` while ``reader`` reads a row of the table every 5 ms."""
    done = asyncio.Event()
    longest, reads = 0.0, 0

    async def read() -> None:
        nonlocal longest, reads
        number = 0
        while not done.is_set():
            number = number % 1000 + 1
            started = time.perf_counter()
            # The query uses a column that no change affects.
            await reader.fetchval(f"SELECT id FROM app.big WHERE id = {number}")
            longest = max(longest, time.perf_counter() - started)
            reads += 1
            await asyncio.sleep(_PAUSE_S)

    reading = asyncio.create_task(read())
    started = time.perf_counter()
    try:
        await AsyncMigrationManager(db, dict(files), "m", snapshots=False).apply_pending_migrations()
    finally:
        total = time.perf_counter() - started
        done.set()
        await reading
    return Measured(longest, total, reads)


async def fix_of(db: AsyncDatabaseManager, files: Mapping[str, str], change: str) -> dict[str, str] | None:
    """The files of the fix of ``change``, which comes after ``files``."""
    manager = AsyncMigrationManager(db, {**files, "003_change.sql": change}, "m", snapshots=False)
    (planned,) = (await manager.plan(squawk=False)).pending
    return None if planned.fix is None else {file.filename: file.sql for file in planned.fix.files}
