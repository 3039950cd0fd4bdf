"""The statements of ``docs/howto/database-role.md`` give the service and an application what they need, and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, DatabaseConfig

from .markdown import DOCS, blocks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PAGE = DOCS / "howto" / "database-role.md"
MIGRATIONS = {"001_orders.sql": "CREATE TABLE {{tables.orders}} (id int);"}


@pytest.fixture
async def admin(database: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(database)
    yield connection
    for role in ("shop_app", "shop_owner", "pgdbm"):
        await connection.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")
    await connection.close()


def as_user(dsn: str, user: str) -> str:
    parts = urlsplit(dsn)
    return parts._replace(netloc=f"{user}:change-me@{parts.hostname}:{parts.port}").geturl()


async def test_the_roles(admin: asyncpg.Connection[Any], database: str) -> None:
    service, owner, application = (block.text for block in blocks(PAGE, "sql"))
    name = urlsplit(database).path.lstrip("/")
    await admin.execute(service.replace("DATABASE shop", f'DATABASE "{name}"'))
    await admin.execute(owner)
    config = DatabaseConfig(connection_string=as_user(database, "pgdbm"), schema="orders")
    async with AsyncDatabaseManager(config) as db:
        result = await AsyncMigrationManager(db, MIGRATIONS, "orders").apply_pending_migrations()
        assert len(result["applied"]) == 1
        await admin.execute(application)
        later = {**MIGRATIONS, "002_items.sql": "CREATE TABLE {{tables.items}} (id int);"}
        await AsyncMigrationManager(db, later, "orders").apply_pending_migrations()
        await AsyncMigrationManager(db, MIGRATIONS, "owned", role="shop_owner").status()
    connection = await asyncpg.connect(as_user(database, "shop_app"))
    await connection.execute("INSERT INTO orders.orders VALUES (1); INSERT INTO orders.items VALUES (1)")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("CREATE TABLE orders.mine ()")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("DROP TABLE orders.orders")
    await connection.close()
