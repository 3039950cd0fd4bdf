"""Every operation of the library that takes a module's lock, each with the history row that it writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pgdbm import AsyncMigrationManager
from pgdbm.migrations.importers import import_history

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pgdbm import AsyncDatabaseManager

    Work = Callable[[AsyncDatabaseManager, str, dict[str, Any]], Awaitable[Any]]

_OUTSIDE = "-- pgdbm:no-transaction\n"
_REPAIRED = {"70_repaired.sql": "SELECT 70;"}
_REVERTED = {
    "90_reverted.sql": "CREATE TABLE {{tables.t}} (id int);\nCREATE INDEX t_id ON {{tables.t}} (id);",
    "90_reverted.down.sql": f"{_OUTSIDE}DROP INDEX CONCURRENTLY IF EXISTS {{{{schema}}}}.t_id;",
}

OPTIONS: dict[str, Any] = {"lock_timeout": None, "snapshots": False}


@dataclass(frozen=True)
class LockTaker:
    """``work`` takes a manager, a module, and options; after it the history has ``filename``, or not (``leaves``)."""

    name: str
    filename: str
    work: Work
    leaves: bool = True

    def __str__(self) -> str:
        return self.name


async def prepare(db: AsyncDatabaseManager, module: str) -> None:
    """Create what must exist in the schema of ``db`` before any of the work."""
    await _manager(db, _REPAIRED | _REVERTED, module, {}).apply_pending_migrations()
    # The first writer would create the journal; the tests are not about that.
    await _manager(db, {"1.sql": "SELECT 1"}, module, {}).mark("1.sql", applied=True)
    await db.execute("CREATE TABLE {{tables.theirs}} (version varchar(128) PRIMARY KEY)")
    await db.execute("INSERT INTO {{tables.theirs}} VALUES ('60')")


def _manager(db: AsyncDatabaseManager, files: dict[str, str], module: str, options: dict[str, Any]) -> Any:
    return AsyncMigrationManager(db, files, module, **{**OPTIONS, **options})


def _applying(name: str, text: str, how: dict[str, Any] | None = None, **fixed: Any) -> Work:
    async def work(db: AsyncDatabaseManager, module: str, options: dict[str, Any]) -> Any:
        manager = _manager(db, {name: text}, module, options | fixed)
        return await manager.apply_pending_migrations(**how or {})

    return work


async def _mark(db: AsyncDatabaseManager, module: str, options: dict[str, Any]) -> None:
    await _manager(db, {"50_marked.sql": "SELECT 50;"}, module, options).mark("50_marked.sql", applied=True)


async def _repair(db: AsyncDatabaseManager, module: str, options: dict[str, Any]) -> None:
    files = {name: f"{text} -- better" for name, text in _REPAIRED.items()}
    await _manager(db, files, module, options).repair(accept=True)


async def _revert(db: AsyncDatabaseManager, module: str, options: dict[str, Any]) -> None:
    await _manager(db, _REVERTED, module, options).revert()


async def _import(db: AsyncDatabaseManager, module: str, options: dict[str, Any]) -> None:
    waits = {name: value for name, value in options.items() if name == "lock_wait_timeout"}
    await import_history(db, "dbmate", {"60_imported.sql": "SELECT 60;"}, module, source_table="theirs", **waits)


def _ignore(_event: object) -> None:
    return None


LOCK_TAKERS = (
    LockTaker("in a message", "10_message.sql", _applying("10_message.sql", "SELECT 10;")),
    LockTaker("by statement", "20_statement.sql", _applying("20_statement.sql", "SELECT 20;", on_event=_ignore)),
    LockTaker("all in one", "30_all.sql", _applying("30_all.sql", "SELECT 30;", {"atomic": "all"})),
    LockTaker("without a transaction", "40_outside.sql", _applying("40_outside.sql", f"{_OUTSIDE}SELECT 40;")),
    LockTaker("mark", "50_marked.sql", _mark),
    LockTaker("import", "60_imported.sql", _import),
    LockTaker("repair", "70_repaired.sql", _repair),
    LockTaker("revert without a transaction", "90_reverted.sql", _revert, leaves=False),
)
