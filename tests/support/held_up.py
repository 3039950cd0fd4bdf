"""How long a reader and a writer that ask every 5 ms are held up while migrations are applied."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager

from .schema_changes import SETUP

if TYPE_CHECKING:
    from collections.abc import Mapping

_PROBE = Path(__file__).with_name("held_up_probe.py")
_FILL = (
    "INSERT INTO {{tables.big}} SELECT i, i, i %% 100, 'name ' || i, 1 + i %% 100, NULL, 'w'"
    " FROM generate_series(1, %d) i;\nANALYZE {{tables.big}};"
)


@dataclass(frozen=True)
class Measured:
    """Seconds that the slowest read and the slowest write took, and those of another table; that the migrations took.

    ``reads`` and ``writes`` that were answered.
    """

    longest_read_s: float
    longest_write_s: float
    longest_read_elsewhere_s: float
    longest_write_elsewhere_s: float
    total_s: float
    reads: int
    writes: int


async def prepared(db: AsyncDatabaseManager, rows: int) -> dict[str, str]:
    """The applied files of a module with a table of so many rows."""
    files = {"001_setup.sql": SETUP, "002_rows.sql": _FILL % rows}
    await AsyncMigrationManager(db, files, "m", snapshots=False).apply_pending_migrations()
    return files


async def measured(db: AsyncDatabaseManager, files: Mapping[str, str], dsn: str) -> Measured:
    """Apply ``files`` while a process reads and writes a row of the table every 5 ms."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(_PROBE), dsn), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    started = time.perf_counter()
    try:
        await AsyncMigrationManager(db, dict(files), "m", snapshots=False).apply_pending_migrations()
    finally:
        total = time.perf_counter() - started
        printed, _ = await process.communicate(b"\n")
    found = json.loads(printed)
    longest = {f"longest_{name}_s": seconds for name, (seconds, _) in found.items()}
    return Measured(**longest, total_s=total, reads=found["read"][1], writes=found["write"][1])


async def fix_of(db: AsyncDatabaseManager, files: Mapping[str, str], change: str) -> dict[str, str] | None:
    """The files of the fix of ``change``, which comes after ``files``."""
    manager = AsyncMigrationManager(db, {**files, "003_change.sql": change}, "m", snapshots=False)
    (planned,) = (await manager.plan(squawk=False)).pending
    return None if planned.fix is None else {file.filename: file.sql for file in planned.fix.files}
