"""Schema changes of a table with many rows: how long a reader is held up by the plain form, and by the fix."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import asyncpg

from pgdbm import AsyncDatabaseManager, DatabaseConfig

from ..support.held_up import fix_of, measured, prepared
from ..support.schema_changes import CHANGES
from .databases import Databases

if TYPE_CHECKING:
    from pathlib import Path

_ROWS = int(os.environ.get("BENCH_ROWS", "1000000"))
_BOUND_MS = 200


async def main(dsn: str, _folder: Path, _rounds: int) -> None:
    print(f"\nThe slowest read of a reader that asks every 5 ms, on a table with {_ROWS:,} rows, in ms:\n")
    print("| change | plain | fix | files |\n|---|---|---|---|")
    over = []
    databases = Databases(dsn)
    template = await databases.fresh()
    async with AsyncDatabaseManager(DatabaseConfig(connection_string=template, schema="app")) as db:
        files = await prepared(db, _ROWS)
        await db.execute("VACUUM")
    for name, change in CHANGES.items():
        plain, _ = await _slowest(await databases.fresh(template), files, change, fix=False)
        fixed, count = await _slowest(await databases.fresh(template), files, change, fix=True)
        shown = f"{fixed:.0f} | {count}" if count else "no fix | "
        print(f"| {name} | {plain:.0f} | {shown} |", flush=True)
        if count and fixed > _BOUND_MS:
            over.append(name)
    print(f"\nFixes over {_BOUND_MS} ms: {', '.join(over) or 'none'}")


async def _slowest(database: str, files: dict[str, str], change: str, *, fix: bool) -> tuple[float, int]:
    """Milliseconds, and the number of files of the fix."""
    async with AsyncDatabaseManager(DatabaseConfig(connection_string=database, schema="app")) as db:
        made = await fix_of(db, files, change) if fix else {"003_change.sql": change}
        if made is None:
            return 0.0, 0
        reader = await asyncpg.connect(database)
        try:
            found = await measured(db, {**files, **made}, reader)
        finally:
            await reader.close()
    return found.longest_read_s * 1000, len(made)
