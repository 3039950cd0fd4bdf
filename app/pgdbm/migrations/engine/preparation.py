"""What a run needs before it migrates: the history, and the schema with the engine's own tables."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

import asyncpg

from ...core.pool import without_reset
from ...core.templating import quote
from ...errors import MigrationError, MigrationLockTimeoutError, QueryError
from ...sql import statement
from ...text import sentence
from ..state.lock import described
from .retries import retry_pauses

if TYPE_CHECKING:
    from ...core.connection import Connection
    from ...core.manager import AsyncDatabaseManager
    from ..sources.parser import ParsedMigration
    from ..state.history import History
    from ..state.lock import MigrationLock
    from .announcer import Announcer
    from .engine import MigrationEngine

logger = logging.getLogger("pgdbm.migrations")


async def read_history(
    db: AsyncDatabaseManager, history: History, lock: MigrationLock, announcer: Announcer
) -> tuple[dict[str, str] | None, int]:
    """The applied migrations, and the major version of the server. Waits if the history table is locked.

    Raises:
        MigrationLockTimeoutError: it was locked for longer than the lock's ``wait_timeout``; the text names the holder.
    """
    started = time.monotonic()
    for pause in retry_pauses():
        with without_reset():
            async with db.acquire() as connection:
                try:
                    return await history.applied(connection), connection.get_server_version().major
                except asyncpg.LockNotAvailableError:
                    await _report_locked(connection, history, lock, announcer, time.monotonic() - started)
                except asyncpg.SerializationError as error:
                    logger.debug("The history is read again: %s", error)
                except asyncpg.InsufficientPrivilegeError as error:
                    raise await _privilege_error(connection, history, error) from error
        await asyncio.sleep(pause)
    raise AssertionError("the pauses have no end")


async def _report_locked(
    connection: Connection, history: History, lock: MigrationLock, announcer: Announcer, waited: float
) -> None:
    row = await connection.fetchrow(statement("locks", "holder_of_table"), history.schema, history.table_name)
    holder = dict(row) if row else None
    if waited >= lock.wait_timeout:
        raise MigrationLockTimeoutError(
            f"Waited {waited:.1f} s for the history table {history.table}: {described(holder)} has locked it. Try "
            f"again when that has ended.",
            waited_s=waited,
            holder=holder,
        )
    logger.info("%s has locked the history table %s: waiting.", described(holder), history.table)
    announcer.emit("waiting_for_runner", holder=holder)


async def create_tables(db: AsyncDatabaseManager, history: History, role: str | None, *, snapshots: bool) -> None:
    """Create the schema and the engine's own tables, unless they exist. In a new schema ``role`` may create objects.

    Raises:
        MigrationError: the connecting user, or ``role``, lacks a privilege; the text says what to grant.
    """
    from ..state.snapshots import create as create_snapshots_table  # imported lazily: most runs find everything

    try:
        with without_reset():
            if role is not None:
                await _create_schema_for(db, history.schema, role)
            await history.create(db)
            if snapshots:
                async with db.acquire() as connection:
                    await create_snapshots_table(connection, history.schema)
    except (QueryError, asyncpg.InsufficientPrivilegeError) as error:
        cause = error if isinstance(error, asyncpg.PostgresError) else error.__cause__
        if not isinstance(cause, asyncpg.InsufficientPrivilegeError):
            raise
        async with db.acquire() as connection:
            raise await _privilege_error(connection, history, cause) from error


async def _create_schema_for(db: AsyncDatabaseManager, schema: str, role: str) -> None:
    names = {"schema": quote(schema), "role": quote(role)}
    async with db.acquire() as connection:
        may_create = await connection.fetchval(statement("runner", "schema_exists"), schema, role)
        if may_create is None:
            create, grant = (
                statement("runner", "create_schema", schema=names["schema"]),
                statement("runner", "grant_schema", **names),
            )
            try:
                await connection.execute(f"{create};\n{grant}")
            except asyncpg.DuplicateSchemaError:
                may_create = await connection.fetchval(statement("runner", "schema_exists"), schema, role)
            else:
                return
    if not may_create:
        raise MigrationError(
            f"Role {role} may not create objects in schema {schema}, which existed before this module was migrated. If "
            f"the role may use that schema, let its owner run: GRANT USAGE, CREATE ON SCHEMA {quote(schema)} TO "
            f"{quote(role)}"
        )


async def _privilege_error(
    connection: Connection, history: History, error: asyncpg.InsufficientPrivilegeError
) -> MigrationError:
    from ..state.snapshots import own_tables

    ours = [history.table_name, *own_tables(())]
    row = await connection.fetchrow(statement("runner", "privileges"), history.schema, history.table_name, ours)
    assert row is not None
    schema, user = quote(history.schema), row["user"]
    if row["table_exists"]:
        grant = f"GRANT SELECT, INSERT, UPDATE, DELETE ON {history.table} TO {user}"
        if row["of_others"]:
            given = "; ".join(f"ALTER TABLE {table} OWNER TO {user}" for table in row["of_others"])
            grant += f". If {user} should migrate this schema from now on, make it the owner of the tables: {given}"
    elif row["schema_exists"]:
        grant = f"GRANT USAGE, CREATE ON SCHEMA {schema} TO {user}"
    else:
        grant = f"GRANT CREATE ON DATABASE {row['database']} TO {user}, or create schema {schema} for it"
    return MigrationError(
        f"The history of migrations cannot be used in schema {history.schema}: {sentence(str(error))} Let the owner "
        f"run: {grant}",
        details={"sqlstate": error.sqlstate},
    )


async def check_pending(engine: MigrationEngine, parsed: list[ParsedMigration]) -> list[ParsedMigration]:
    """``parsed``. Raises MigrationFileError for what only the catalog shows: see the functions called here."""
    await check_backfills(engine.db, parsed)
    if any(one.kind == "alter_enum_stmt" for migration in parsed for one in migration.distinct_traits):
        from .enum_values import require_usable_values  # imported lazily: few files add a value to an enum

        await require_usable_values(engine, parsed)
    return parsed


async def check_backfills(db: AsyncDatabaseManager, parsed: list[ParsedMigration]) -> list[ParsedMigration]:
    """``parsed``. Raises MigrationFileError for a backfill whose table cannot be walked."""
    if any(one.backfill is not None for one in parsed):
        from .backfilling import require_walks  # imported lazily: few modules have a backfill

        await require_walks(db, parsed)
    return parsed
