"""Flyway's history, as its tables are documented: there is no Flyway to install here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pgdbm.migrations.importers import convert
from pgdbm.migrations.importers.flyway import checksum_of

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Database

TABLE = """
CREATE TABLE flyway_schema_history (
    installed_rank integer PRIMARY KEY,
    version varchar(50),
    description varchar(200) NOT NULL,
    type varchar(20) NOT NULL,
    script varchar(1000) NOT NULL,
    checksum integer,
    installed_by varchar(100) NOT NULL,
    installed_on timestamp NOT NULL DEFAULT now(),
    execution_time integer NOT NULL,
    success boolean NOT NULL
);
CREATE INDEX flyway_schema_history_s_idx ON flyway_schema_history (success);
"""
FILES = {
    "V1__users.sql": "CREATE TABLE users (\r\n  id int\r\n);\r\n",
    "V1_2__grüße.sql": "-- Grüße\nCREATE TABLE greetings ();\n",
    "V2.0__orders.sql": "CREATE TABLE orders ();",
    "V10__later.sql": "CREATE TABLE public.later ();",
    "R__views.sql": "CREATE OR REPLACE VIEW public.v AS SELECT 1 AS one;\n",
}


class History:
    """Rows as Flyway writes them."""

    def __init__(self, target: Database) -> None:
        self._target = target
        self._rank = 0

    async def add(
        self,
        version: str | None,
        script: str,
        *,
        kind: str = "SQL",
        checksum: int | None = None,
        success: bool = True,
    ) -> None:
        self._rank += 1
        await self._target.db.execute(
            "INSERT INTO flyway_schema_history VALUES"
            " ($1, $2, $3, $4, $5, $6, 'deployer', '2024-03-01 10:00:00'::timestamp + $1 * interval '1 day', $7, $8)",
            self._rank,
            version,
            script.partition("__")[2].removesuffix(".sql"),
            kind,
            script,
            checksum,
            self._rank * 11,
            success,
        )

    async def apply(self, version: str | None, script: str, **options: Any) -> None:
        await self.add(version, script, checksum=checksum_of(FILES[script.rpartition("/")[2]]), **options)


@pytest.fixture
async def history(target: Database) -> History:
    async with target.db.acquire() as connection:
        await connection.execute(TABLE.replace("flyway_", "public.flyway_", 1).replace(" ON f", " ON public.f"))
        await connection.execute("SET search_path = public")
    await target.run("ALTER DATABASE CURRENT SET search_path = public") if False else None
    return History(target)
