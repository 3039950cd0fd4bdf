"""Programs as users of the library write them, run against a real database.

Only the connection string is the test's; it is in the environment, like theirs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

MYSERVICE = {
    "001_create_users.sql": "CREATE TABLE {{tables.users}} (id serial PRIMARY KEY, email text NOT NULL, name text);",
    "002_create_posts.sql": "CREATE TABLE {{tables.posts}} (id serial PRIMARY KEY, author int NOT NULL "
    "REFERENCES {{tables.users}} (id));",
    "003_add_indexes.sql": "CREATE UNIQUE INDEX users_email ON {{tables.users}} (email);",
}
STANDALONE = """
import asyncio
from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, DatabaseConfig

async def main():
    config = DatabaseConfig(
        connection_string="postgresql://localhost/myservice",
        min_connections=5,
        max_connections=20,
    )
    db = AsyncDatabaseManager(config)
    await db.connect()
    migrations = AsyncMigrationManager(
        db,
        migrations_path="./migrations",
        module_name="myservice"
    )
    result = await migrations.apply_pending_migrations()
    user_id = await db.execute_and_return_id(
        "INSERT INTO {{tables.users}} (email, name) VALUES ($1, $2)",
        "alice@example.com",
        "Alice"
    )
    await db.disconnect()
    print(result["status"], user_id)

asyncio.run(main())
"""
WITH_SCHEMA = STANDALONE.replace("min_connections=5", 'schema="myservice", min_connections=5')
DUAL_MODE = """
import asyncio
from typing import Optional
from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, DatabaseConfig

class MyLibrary:
    def __init__(
        self,
        connection_string: Optional[str] = None,
        db_manager: Optional[AsyncDatabaseManager] = None,
    ):
        if not connection_string and not db_manager:
            raise ValueError("Provide one or the other")
        self._external_db = db_manager is not None
        self.db = db_manager
        self._connection_string = connection_string

    async def initialize(self):
        if not self._external_db:
            config = DatabaseConfig(connection_string=self._connection_string)
            self.db = AsyncDatabaseManager(config)
            await self.db.connect()
        migrations = AsyncMigrationManager(
            self.db, "migrations", module_name="mylib"
        )
        await migrations.apply_pending_migrations()

async def main():
    alone = MyLibrary(connection_string="postgresql://localhost/myservice")
    await alone.initialize()
    print(await alone.db.fetch_value("SELECT count(*) FROM {{tables.users}}"))
    await alone.db.close()
    config = DatabaseConfig(connection_string="postgresql://localhost/myservice")
    shared_pool = await AsyncDatabaseManager.create_shared_pool(config)
    within = MyLibrary(db_manager=AsyncDatabaseManager(pool=shared_pool, schema="mylib"))
    await within.initialize()
    print(await within.db.fetch_value("SELECT count(*) FROM {{tables.users}}"))
    await shared_pool.close()

asyncio.run(main())
"""
SHARED_POOL = """
import asyncio
from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, DatabaseConfig

async def main():
    config = DatabaseConfig(connection_string="postgresql://localhost/myservice")
    shared_pool = await AsyncDatabaseManager.create_shared_pool(config)

    users_db = AsyncDatabaseManager(pool=shared_pool, schema="users")
    orders_db = AsyncDatabaseManager(pool=shared_pool, schema="orders")

    for db, path, name in [(users_db, "migrations", "users"), (orders_db, "migrations", "orders")]:
        migrations = AsyncMigrationManager(db, path, name)
        await migrations.apply_pending_migrations()

    user_id = await users_db.fetch_value(
        "INSERT INTO {{tables.users}} (email) VALUES ($1) RETURNING id",
        "alice@example.com"
    )
    print(user_id, await orders_db.fetch_value("SELECT count(*) FROM {{tables.users}}"),
          await orders_db.fetch_value("SELECT count(*) FROM {{tables.users.users}}"))
    await shared_pool.close()

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("program", "prints"),
    [
        (STANDALONE, "success 1"),
        (WITH_SCHEMA, "success 1"),
        (DUAL_MODE, "0\n0"),
        (SHARED_POOL, "1 0 1"),
    ],
    ids=["standalone", "with a schema", "dual mode", "shared pool"],
)
def test_a_program_written_for_the_library_runs(database: str, tmp_path: Path, program: str, prints: str) -> None:
    (tmp_path / "migrations").mkdir()
    for name, sql in MYSERVICE.items():
        (tmp_path / "migrations" / name).write_text(sql)
    for placeholder in ("postgresql://localhost/myservice",):
        program = program.replace(placeholder, database)
    (tmp_path / "main.py").write_text(textwrap.dedent(program))
    done = subprocess.run(
        [sys.executable, "-W", "error", "main.py"],
        cwd=tmp_path,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == prints
