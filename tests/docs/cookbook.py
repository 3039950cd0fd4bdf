"""The recipes of ``docs/howto/change-without-downtime.md``, and the locks that their files take.

``python -m tests.docs.cookbook DSN`` writes the tables of locks into the page.
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import TYPE_CHECKING

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, DatabaseConfig
from pgdbm.pgparse.lock_modes import LockMode

from .markdown import DOCS, blocks

if TYPE_CHECKING:
    from pgdbm.migrations.rehearsal.results import Rehearsal, StatementRehearsal

PAGE = DOCS / "howto" / "change-without-downtime.md"
HEAD = "| file | statement | lock | blocks |\n|---|---|---|---|\n"

_NAME = re.compile(r"-- (\d+_\w+\.sql)\n")
_TABLE = re.compile(re.escape(HEAD) + r"(?:\|.*\n)*\n?")


def files() -> dict[str, str]:
    """The migrations of the page, by the name in their first line."""
    found: dict[str, str] = {}
    for block in blocks(PAGE, "sql"):
        name = _NAME.match(block.text)
        assert name, f"{block}: no name in the first line"
        found[name[1]] = block.text[name.end() :]
    return found


async def rehearsed(dsn: str) -> Rehearsal:
    """A rehearsal of the recipes, after the tables that they change have been created."""
    recipes = files()
    first = min(recipes)
    async with AsyncDatabaseManager(DatabaseConfig(connection_string=dsn, schema="shop")) as db:
        await AsyncMigrationManager(db, {first: recipes[first]}, "shop").apply_pending_migrations()
        return await AsyncMigrationManager(db, recipes, "shop").rehearse()


def rows(rehearsal: Rehearsal) -> dict[str, list[str]]:
    """The rows of each file."""
    return {
        file.filename: [_row(file.filename, statement) for statement in file.statements] for file in rehearsal.files
    }


def _row(filename: str, statement: StatementRehearsal) -> str:
    what = f"| `{filename}` | {statement.kind} |"
    if statement.locks is None:
        return f"{what} not measured: outside a transaction | |"
    strongest: dict[str, LockMode] = {}
    for lock in statement.locks:
        if not lock.on_new_object and lock.relation is not None and lock.mode > LockMode.ACCESS_SHARE:
            name = lock.relation.partition(".")[2]
            strongest[name] = max(lock.mode, strongest.get(name, lock.mode))
    if not strongest:
        return f"{what} none | nothing |"
    locks = ", ".join(f"{mode.sql} on {name}" for name, mode in sorted(strongest.items()))
    return f"{what} {locks} | {max(strongest.values()).blocks} |"


def page_with(measured: dict[str, list[str]]) -> str:
    """The page with the tables of locks that were measured, one at the end of each recipe."""
    sections = re.split(r"(?m)^(?=## )", _TABLE.sub("", PAGE.read_text()))
    written = [sections[0]]
    for section in sections[1:]:
        names = _NAME.findall(section)
        table = "".join(f"{row}\n" for name in names for row in measured[name])
        written.append(f"{section.rstrip()}\n\n{HEAD}{table}\n")
    return "".join(written).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page_with(rows(asyncio.run(rehearsed(sys.argv[1])))))
