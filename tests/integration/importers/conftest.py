"""Shared by the tests of the importers: a schema that another tool has migrated, and what an import leaves pending."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager
from pgdbm.migrations.importers import ImportRefusedError, ImportReport, import_history

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

OURS = "pgdbm_migrations"
DEADLINE_S = 60.0


@dataclass
class Database:
    """A database with another tool's tables in ``public``."""

    db: AsyncDatabaseManager
    dsn: str

    async def run(self, sql: str) -> None:
        """Run ``sql`` as the other tool would, with unqualified names in ``public``."""
        async with self.db.acquire() as connection:
            await connection.execute(f"SET search_path = public; {sql}")

    async def take(self, tool: Any, files: Any, **options: Any) -> ImportReport:
        return await import_history(self.db, tool, files, "app", **{"migrations_table": OURS, **options})

    async def refusal(self, tool: Any, files: Any, **options: Any) -> ImportRefusedError:
        """The refusal of an import, which left nothing behind."""
        with pytest.raises(ImportRefusedError) as caught:
            await self.take(tool, files, **options)
        table = options.get("migrations_table", OURS)
        ours = "SELECT count(*) FROM pg_attribute WHERE attrelid = to_regclass($1) AND attname = 'checksum'"
        assert await self.db.fetch_value(ours, f"public.{table}") == 0
        return caught.value

    def manager(self, files: Any, **options: Any) -> AsyncMigrationManager:
        return AsyncMigrationManager(self.db, files, "app", **{"migrations_table": OURS, **options})

    async def pending(self, files: Any) -> list[str]:
        return [migration.filename for migration in await self.manager(files).get_pending_migrations()]

    async def apply(self, files: Any) -> list[str]:
        """What the engine applies after the import."""
        result = await self.manager(files).apply_pending_migrations()
        return [one["filename"] for one in result["applied"]]

    async def rows(self) -> dict[str, Any]:
        """Our history, by file."""
        return {row.filename: row for row in reversed(await self.manager({}).history(limit=100))}


@pytest.fixture
def target(pool: asyncpg.Pool[Any], database: str) -> Database:
    return Database(AsyncDatabaseManager(pool=pool, schema="public"), database)


class Program:
    """Another tool, as it is installed here."""

    def __init__(self, path: str, dsn: str, folder: Path) -> None:
        self._path = path
        self._parts = urlsplit(dsn)
        self.folder = folder

    def url(self, scheme: str, query: str = "") -> str:
        return self._parts._replace(scheme=scheme, query=query).geturl()

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run(self, *arguments: str) -> str:
        """What the program prints."""
        return self._run(self._path, *arguments)

    def run_python(self, script: str) -> str:
        """What ``script`` prints in the program's own environment."""
        return self._run(str(Path(self._path).with_name("python")), "-c", script)

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder)},
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def _program(name: str, dsn: str, folder: Path) -> Program:
    beside = Path(sys.executable).parent / name
    path = str(beside) if beside.is_file() else shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed: only the tables written by hand after its documentation were tested")
    return Program(path, dsn, folder)


@pytest.fixture
async def dbmate(database: str, target: Database, tmp_path: Path) -> AsyncIterator[Program]:
    """With a separate user: Go's driver refuses a password that was hashed with fewer iterations than usual."""
    parts = urlsplit(database)
    address = parts._replace(netloc=f"dbmate:of%20dbmate@{parts.hostname}:{parts.port}")
    program = _program("dbmate", address.geturl(), tmp_path)
    await target.run("CREATE ROLE dbmate SUPERUSER LOGIN PASSWORD 'of dbmate'")
    yield program
    await target.run("REASSIGN OWNED BY dbmate TO CURRENT_USER; DROP ROLE dbmate")


@pytest.fixture
def alembic(database: str, tmp_path: Path) -> Program:
    return _program("alembic", database, tmp_path)


@pytest.fixture
def yoyo(database: str, tmp_path: Path) -> Program:
    return _program("yoyo", database, tmp_path)
