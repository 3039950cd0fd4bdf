"""The schema of the service's own tables, which the library's migration manager creates and upgrades."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

import structlog

from pgdbm.core.manager import AsyncDatabaseManager
from pgdbm.errors import MigrationError, QueryError, SchemaError
from pgdbm.migrations import AsyncMigrationManager
from pgdbm.text import sentence

if TYPE_CHECKING:
    import asyncpg

SERVICE_SCHEMA = "pgdbm_service"

logger = structlog.get_logger("pgdbm_service")


async def migrate_service_schema(pool: asyncpg.Pool[asyncpg.Record]) -> None:
    """Apply the service's own pending migrations. Replicas that start together wait for each other.

    Raises:
        SchemaError: they cannot be applied; the message says which privileges the database user needs.
        ConnectionError: the connection was lost.
    """
    db = AsyncDatabaseManager(pool=pool, schema=SERVICE_SCHEMA)
    migrations = files("pgdbm_service") / "migrations"
    manager = AsyncMigrationManager(db, migrations, SERVICE_SCHEMA, snapshots=False)
    try:
        result = await manager.apply_pending_migrations()
    except (QueryError, MigrationError) as error:
        reason = sentence(error.message.splitlines()[0])
        raise SchemaError(
            f"The service's own tables in the schema {SERVICE_SCHEMA} cannot be created or read: {reason} "
            f"Its database user needs CREATE on the database, or must own the schema.",
            schema=SERVICE_SCHEMA,
        ) from error
    if result["applied"]:
        logger.info(
            "service schema migrated", schema=SERVICE_SCHEMA, applied=[one["filename"] for one in result["applied"]]
        )
