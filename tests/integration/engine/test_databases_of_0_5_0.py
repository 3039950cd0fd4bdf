"""Databases of version 0.5.0 are used as they are, and stay usable by 0.5.0.

What 0.5.0 does is written down here from the contract: its table, its checksum, what it reads and what it inserts.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
import zipfile
from importlib.resources import files as resources_of
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, ChecksumMismatchError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from pgdbm.migrations.results import OutOfOrder

    Connection = asyncpg.Connection[Any]
    Connect = Callable[[], AbstractAsyncContextManager[Connection]]

MODULE = "shop"

TABLE = """
CREATE TABLE IF NOT EXISTS {history} (
    id SERIAL PRIMARY KEY,
    filename VARCHAR(255) NOT NULL,
    checksum VARCHAR(64) NOT NULL,
    module_name VARCHAR(100),
    applied_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    applied_by VARCHAR(100) DEFAULT CURRENT_USER,
    execution_time_ms INTEGER,
    UNIQUE(filename, module_name)
)
"""

FILES = {
    "001_users.sql": "CREATE TABLE {{tables.users}} (id int);\n",
    "002_names.sql": "\r\n-- é\r\nALTER TABLE {{tables.users}}\r\n    ADD name text;\r\n\r\n",
    "V3__orders.sql": "  CREATE TABLE {{tables.orders}} (id int); \t\n\n",
    "V4__index.sql": "-- pgdbm:no-transaction\r\nCREATE INDEX CONCURRENTLY orders_id ON {{tables.orders}} (id);\r\n",
    "20240126120000_notes.sql": "ALTER TABLE {{tables.orders}} ADD note text",
    "2024_02_03_1200_more.sql": "ALTER TABLE {{tables.orders}} ADD more text;\n-- the end\n",
    "seed.sql": "INSERT INTO {{tables.users}} (id) VALUES (1);\r\n",
}
NEXT = {"20260101000000_next.sql": "CREATE TABLE {{tables.next}} (id int);\r\n"}


class Old:
    """What 0.5.0 does with the history of :data:`MODULE` in ``schema``."""

    def __init__(self, connection: Connection, schema: str) -> None:
        self.connection = connection
        self.schema = schema
        self.history = f"{schema}.schema_migrations"

    @staticmethod
    def checksum(content: str) -> str:
        return hashlib.sha256(content.replace("\r\n", "\n").strip().encode()).hexdigest()

    async def begin(self) -> None:
        await self.connection.execute(f"CREATE SCHEMA IF NOT EXISTS {self.schema}")
        await self.connection.execute(TABLE.format(history=self.history))

    async def applied(self) -> dict[str, str]:
        rows = await self.connection.fetch(
            f"SELECT filename, checksum, applied_at, module_name FROM {self.history}"
            " WHERE module_name = $1 OR module_name IS NULL ORDER BY applied_at",
            MODULE,
        )
        return {row["filename"]: row["checksum"] for row in rows}

    async def pending(self, contents: dict[str, str]) -> list[str]:
        applied = await self.applied()
        for filename, content in contents.items():
            assert applied.get(filename) in (None, self.checksum(content)), f"{filename} has been modified"
        return sorted(contents.keys() - applied)

    async def apply(self, filename: str, content: str, module: str | None = MODULE) -> None:
        sql = content.replace("{{tables.", f"{self.schema}.").replace("}}", "")
        await self.connection.execute(sql)
        await self.connection.execute(
            f"INSERT INTO {self.history} (filename, checksum, module_name, execution_time_ms) VALUES ($1, $2, $3, $4)",
            filename,
            self.checksum(content),
            module,
            3,
        )

    async def rows(self) -> list[asyncpg.Record]:
        found: list[asyncpg.Record] = await self.connection.fetch(f"SELECT * FROM {self.history} ORDER BY id")
        return found


@pytest.fixture(params=["app", None])
def db(request: pytest.FixtureRequest, pool: asyncpg.Pool[Any]) -> AsyncDatabaseManager:
    return AsyncDatabaseManager(pool=pool, schema=request.param)


async def migrated_by_old(connection: Connection, schema: str) -> Old:
    """Every other row has no module, as older releases wrote them; rows of other modules are in between."""
    old = Old(connection, schema)
    await old.begin()
    for number, (filename, content) in enumerate(FILES.items()):
        await old.apply(filename, content, MODULE if number % 2 else None)
    for filename in ("001_users.sql", *NEXT):
        await old.apply(filename, "SELECT 'of another module'", "another")
    return old


Form = Any


@pytest.fixture(params=["folder", "package", "zip", "memory"])
def form(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[dict[str, str]], Form]]:
    """Functions that create a ``migrations_path`` from contents."""
    packages: list[str] = []

    def in_package(contents: dict[str, str]) -> Form:
        name = f"shop_{request.param}_{len(packages)}"
        entries = {f"{name}/__init__.py": "", **{f"{name}/migrations/{file}": sql for file, sql in contents.items()}}
        place = tmp_path / (f"{name}.zip" if request.param == "zip" else "packages")
        if request.param == "zip":
            with zipfile.ZipFile(place, "w") as archive:
                for path, text in entries.items():
                    archive.writestr(path, text.encode())
        else:
            for path, text in entries.items():
                (place / path).parent.mkdir(parents=True, exist_ok=True)
                (place / path).write_bytes(text.encode())
        sys.path.insert(0, str(place))
        packages.append(name)
        importlib.invalidate_caches()
        return resources_of(importlib.import_module(name)) / "migrations"

    def in_folder(contents: dict[str, str]) -> Form:
        folder = tmp_path / "migrations"
        folder.mkdir(exist_ok=True)
        for filename, content in contents.items():
            (folder / filename).write_bytes(content.encode())
        return folder

    before = list(sys.path)
    makers: dict[str, Callable[[dict[str, str]], Form]] = {
        "folder": in_folder,
        "memory": dict,
        "package": in_package,
        "zip": in_package,
    }
    yield makers[request.param]
    sys.path[:] = before
    for name in packages:
        sys.modules.pop(name, None)


async def test_a_database_migrated_by_0_5_0_is_up_to_date(
    db: AsyncDatabaseManager, connect: Connect, form: Callable[[dict[str, str]], Form]
) -> None:
    async with connect() as connection:
        old = await migrated_by_old(connection, db.schema or "public")
        before = await old.rows()
        policies: tuple[OutOfOrder, ...] = ("allow", "reject")
        for policy in policies:
            manager = AsyncMigrationManager(db, form(FILES), MODULE, out_of_order=policy)
            assert await manager.get_pending_migrations() == []
            result = await manager.apply_pending_migrations()
            assert (result["status"], result["applied"], result["total"]) == ("up_to_date", [], len(FILES))
            assert sorted(result["skipped"]) == sorted(FILES)
            status = await manager.status()
            assert (status.state, status.counts["applied"]) == ("up_to_date", len(FILES))
        applied = await manager.get_applied_migrations()
        assert {name: one.checksum for name, one in applied.items()} == await old.applied()
        assert {name: one.content for name, one in applied.items()} == FILES
        assert len(await manager.get_migration_history(limit=100)) == len(FILES)
        assert await old.rows() == before

        # New migrations are applied after that.
        manager = AsyncMigrationManager(db, form(FILES | NEXT), MODULE)
        result = await manager.apply_pending_migrations()
        assert [one["filename"] for one in result["applied"]] == list(NEXT)
        assert await db.table_exists("next")
        assert (await old.rows())[:-1] == before
        assert await old.pending(FILES | NEXT) == []


async def test_a_file_changed_since_0_5_0_is_refused(
    db: AsyncDatabaseManager, connect: Connect, form: Callable[[dict[str, str]], Form]
) -> None:
    async with connect() as connection:
        old = await migrated_by_old(connection, db.schema or "public")
        for filename in ("001_users.sql", "002_names.sql"):
            changed = FILES | {filename: FILES[filename] + "SELECT 1;"}
            with pytest.raises(ChecksumMismatchError, match="has been modified after being applied") as caught:
                await AsyncMigrationManager(db, form(changed), MODULE).apply_pending_migrations()
            assert caught.value.migration_file == filename
            assert caught.value.recorded == Old.checksum(FILES[filename])
            assert caught.value.current == Old.checksum(changed[filename])
        # The line ends of a file may change, and the white space around it.
        bare = {name: content.replace("\r\n", "\n").strip() for name, content in FILES.items()}
        manager = AsyncMigrationManager(db, form(bare), MODULE)
        assert (await manager.apply_pending_migrations())["status"] == "up_to_date"
        assert await old.pending(bare) == []


async def test_version_0_5_0_can_read_the_history_that_is_written(
    db: AsyncDatabaseManager, connect: Connect, form: Callable[[dict[str, str]], Form]
) -> None:
    manager = AsyncMigrationManager(db, form(FILES), MODULE)
    assert (await manager.apply_pending_migrations())["status"] == "success"
    async with connect() as connection:
        old = Old(connection, db.schema or "public")
        await old.begin()
        assert await old.pending(FILES) == []
        assert await old.pending(FILES | NEXT) == list(NEXT)
        [(filename, content)] = NEXT.items()
        await old.apply(filename, content)
        with pytest.raises(asyncpg.UniqueViolationError):
            await old.apply(filename, "SELECT 'once more'")
        newest = (await old.rows())[-1]
        assert (newest["applied_by"], newest["execution_time_ms"]) == (
            await connection.fetchval("SELECT current_user"),
            3,
        )
        # It sorts by applied_at, so the rows of pgdbm come first.
        assert list(await old.applied())[-1] == filename

    manager = AsyncMigrationManager(db, form(FILES | NEXT), MODULE)
    assert (await manager.apply_pending_migrations())["status"] == "up_to_date"
    assert [row["filename"] for row in await manager.get_migration_history(limit=1)] == list(NEXT)


async def test_the_history_table_has_the_columns_of_0_5_0(pool: asyncpg.Pool[Any], connect: Connect) -> None:
    """Except for additional columns, which an INSERT may omit."""
    await AsyncMigrationManager(
        AsyncDatabaseManager(pool=pool, schema="ours"), FILES, MODULE
    ).apply_pending_migrations()
    async with connect() as connection:
        await Old(connection, "theirs").begin()

        async def columns(schema: str) -> dict[str, dict[str, Any]]:
            rows = await connection.fetch(
                "SELECT column_name, data_type, character_maximum_length, is_nullable, column_default"
                " FROM information_schema.columns WHERE table_schema = $1 AND table_name = 'schema_migrations'",
                schema,
            )
            return {
                row["column_name"]: {**row, "column_default": str(row["column_default"]).replace(f"{schema}.", "")}
                for row in rows
            }

        ours, theirs = await columns("ours"), await columns("theirs")
        assert {name: ours[name] for name in theirs} == theirs
        for name in ours.keys() - theirs:
            assert ours[name]["is_nullable"] == "YES" or ours[name]["column_default"] != "None"
        constraints = (
            "SELECT array_agg(DISTINCT pg_get_constraintdef(oid)) FROM pg_constraint"
            " WHERE conrelid = $1::regclass AND contype IN ('p', 'u', 'f', 'c', 'x')"
        )
        assert await connection.fetchval(constraints, "ours.schema_migrations") == await connection.fetchval(
            constraints, "theirs.schema_migrations"
        )
