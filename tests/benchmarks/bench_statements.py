"""Statements that the service sends, counted in the server's log: they do not depend on how busy the machine is."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import asyncpg

from pgdbm_service.client import AsyncClient, MigrateBody, RegistrationBody, SubmittedMigration

from .bench_service import running
from .databases import Databases

if TYPE_CHECKING:
    from pathlib import Path

_SETTLE_S = 20
_IDLE_S = 60
_IDLE_BOUND = 1.0
_SCHEMAS = 60
_FILES = 5
_PER_SCHEMA_BOUND = 50.0
_STATEMENT = re.compile(rb"LOG:  (?:statement|execute [^:]*): ")
_RESET = b"SELECT pg_advisory_unlock_all();"


async def main(dsn: str, folder: Path, _: int) -> None:
    database = await Databases(dsn).fresh()
    connection = await asyncpg.connect(database)
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute(f"ALTER DATABASE {name} SET log_statement = 'all'")
    await connection.close()
    log = folder / "data" / "server.log"
    repo = folder / "statements_repo"
    repo.mkdir()
    variables = {"DATABASE_URL": database, "PGDBM_MIGRATIONS_REPO": str(repo), "PGDBM_LOG_LEVEL": "warning"}
    async with running("-m", "pgdbm_service", **variables) as service:
        await asyncio.sleep(_SETTLE_S)
        before = log.stat().st_size
        await asyncio.sleep(_IDLE_S)
        idle = len(_STATEMENT.findall(_since(log, before))) / _IDLE_S
        print(f"\nAn idle replica: {idle:.2f} statements a second  (at most {_IDLE_BOUND:g})  ", end="")
        print("ok" if idle <= _IDLE_BOUND else "OVER")
        files = [
            SubmittedMigration(filename=f"{number}.sql", content=f"CREATE TABLE {{{{tables.t{number}}}}} (id int)")
            for number in range(1, _FILES + 1)
        ]
        schemas = [f"tenant_{number}" for number in range(_SCHEMAS)]
        async with AsyncClient(service.url) as client:
            await client.register_module("tenants", RegistrationBody(schemas=schemas, migrations=files))
            before = log.stat().st_size
            await client.wait_for(await client.migrate("tenants", MigrateBody(wait_s=0)))
        sent = _since(log, before)
        each, resets = len(_STATEMENT.findall(sent)) / _SCHEMAS, sent.count(_RESET) / _SCHEMAS
        print(f"A run over {_SCHEMAS} schemas, {_FILES} files each: {each:.1f} statements per schema, ", end="")
        print(f"{resets:.1f} of them resets of a connection  (at most {_PER_SCHEMA_BOUND:g})  ", end="")
        print("ok" if each <= _PER_SCHEMA_BOUND else "OVER")


def _since(log: Path, position: int) -> bytes:
    with log.open("rb") as file:
        file.seek(position)
        return file.read()
