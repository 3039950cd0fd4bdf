"""Schema changes of a table with many rows: how long a reader and a writer wait for the plain form, and for the fix.

A read and a write of a table that is not changed are measured at the same time: what these take is due to the machine.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pgdbm import AsyncDatabaseManager, DatabaseConfig

from ..support.held_up import fix_of, measured, prepared
from ..support.schema_changes import CHANGES
from .databases import Databases

if TYPE_CHECKING:
    from pathlib import Path

    from ..support.held_up import Measured

_ROWS = int(os.environ.get("BENCH_ROWS", "1000000"))
_BOUND_MS = 200


async def main(dsn: str, _folder: Path, _rounds: int) -> None:
    print(
        f"\nThe slowest of the reads and writes every 5 ms of a table with {_ROWS:,} rows, in ms: of it / of another\n"
    )
    print("| change | plain: read | write | fix: read | write | files |\n|---|---|---|---|---|---|")
    over = []
    databases = Databases(dsn)
    template = await databases.fresh()
    async with AsyncDatabaseManager(DatabaseConfig(connection_string=template, schema="app")) as db:
        files = await prepared(db, _ROWS)
        await db.execute("VACUUM")
    for name, change in CHANGES.items():
        plain, _ = await _slowest(await databases.fresh(template), files, change, fix=False)
        fixed, count = await _slowest(await databases.fresh(template), files, change, fix=True)
        assert plain is not None
        shown = f"{_shown(fixed)} | {count}" if fixed is not None else "no fix | | "
        print(f"| {name} | {_shown(plain)} | {shown} |", flush=True)
        if fixed is not None and (fixed.longest_read_s - fixed.longest_read_elsewhere_s) * 1000 > _BOUND_MS:
            over.append(name)
    print(f"\nFixes that hold up a reader {_BOUND_MS} ms longer than one of another table: {', '.join(over) or 'none'}")


def _shown(found: Measured) -> str:
    read = f"{found.longest_read_s * 1000:.0f} / {found.longest_read_elsewhere_s * 1000:.0f}"
    return f"{read} | {found.longest_write_s * 1000:.0f} / {found.longest_write_elsewhere_s * 1000:.0f}"


async def _slowest(database: str, files: dict[str, str], change: str, *, fix: bool) -> tuple[Measured | None, int]:
    """What was measured, None without a fix, and the number of its files."""
    async with AsyncDatabaseManager(DatabaseConfig(connection_string=database, schema="app")) as db:
        made = await fix_of(db, files, change) if fix else {"003_change.sql": change}
        if made is None:
            return None, 0
        return await measured(db, {**files, **made}, database), len(made)
