"""The schema that the service keeps its own tables in, made and kept up to date by the library's own manager."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any

import structlog

from pgdbm.core.manager import AsyncDatabaseManager
from pgdbm.errors import MigrationError, QueryError, SchemaError
from pgdbm.migrations import AsyncMigrationManager

if TYPE_CHECKING:
    import asyncpg

OWN_SCHEMA = "pgdbm_service"

logger = structlog.get_logger("pgdbm_service")


async def prepare_own_schema(pool: asyncpg.Pool[Any]) -> None:
    """Apply what is pending of the service's own migrations; replicas that start at once wait for each other.

    Raises:
        SchemaError: they cannot be made; says what the database user needs.
        ConnectionError: the server went away meanwhile.
    """
    db = AsyncDatabaseManager(pool=pool, schema=OWN_SCHEMA)
    migrations = files("pgdbm_service") / "migrations"
    manager = AsyncMigrationManager(db, migrations, OWN_SCHEMA, snapshots=False)
    try:
        result = await manager.apply_pending_migrations()
    except (QueryError, MigrationError) as error:
        raise SchemaError(
            f"The service keeps its own tables in the schema {OWN_SCHEMA}, and they cannot be made or read: "
            f"{error.message.splitlines()[0]}. Its database user needs CREATE on the database, or to own that schema.",
            schema=OWN_SCHEMA,
        ) from error
    if result["applied"]:
        logger.info("own schema migrated", schema=OWN_SCHEMA, applied=[one["filename"] for one in result["applied"]])
