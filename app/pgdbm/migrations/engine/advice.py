"""What to do about an error of the server, where the error itself does not say it."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from ...core.asyncpg_errors import FAILURES
from ...patterns import late_pattern
from ...sql import statement

if TYPE_CHECKING:
    import asyncpg

    from ..sources.parser import ParsedMigration
    from ..state.history import History
    from .session import Session

logger = logging.getLogger("pgdbm.migrations")

RECORDING = "It failed when the engine inserted the history row."
JOURNALLING = "It failed where the engine writes to its journal."
RECORDING_LATER = (
    "It failed when the engine inserted the history row. The statements of the file have run, and "
    "do not run again: the "
    "next run writes the row."
)
COMMITTING = "It failed at COMMIT, where deferred constraints are checked."
DEFERRED = "It failed at the end of the file, where deferred constraints are checked."
READ_ONLY_SERVER = (
    "The server is a standby, or the role or the database has default_transaction_read_only: connect to the primary, "
    "or ALTER ROLE or ALTER DATABASE … RESET default_transaction_read_only."
)

_READ_ONLY_FILE = (
    "What is applied is recorded in the same transaction: remove READ ONLY, or default_transaction_read_only, from the "
    "file."
)
_NO_TRANSACTION = "Put it into a file of its own, with the line `-- pgdbm:no-transaction` at the top."
_QUOTED = late_pattern(r'"([^"]+)"')
_FUNCTION = late_pattern(r"function (?:\w+\.)?(\w+)\(")
_UNQUALIFIED_IN_CATALOG = late_pattern(r'"pg_catalog\.(\w+)"')
_PERMISSION_DENIED = late_pattern(r"permission denied for (schema|table|sequence|view|function|database|type) (\S+)")


async def advise(session: Session, error: asyncpg.PostgresError, migration: ParsedMigration, stage: str = "") -> str:
    """What to do, in one or two sentences; empty if unknown. ``stage``: what failed, if it was not a statement of the
    file.

    Reads the catalog if necessary; the session is no longer in a transaction.
    """
    history, message = session.history, str(error.args[0] if error.args else error)
    match error.sqlstate:
        case "42P01" | "3F000" if stage == RECORDING:
            return (
                f"The file dropped the history table {history.table}, and with it the record of what "
                f"has been applied. Drop "
                f"the objects one by one, or keep the history in another schema."
            )
        case "53100":
            return "Free space where the data of the server is, or of the tablespace, and run again."
        case "53200":
            return "The server, or its table of locks, needs more memory, or less at the same time. Then run again."
        case "53400" if "temp_file_limit" in message:
            return "Let a superuser raise it, ALTER ROLE … SET temp_file_limit = …, or let the statement sort less."
        case "25001" if "ISOLATION LEVEL" in message:
            return "Write SET TRANSACTION as the first statement of the file: pgdbm begins the transaction with it."
        case "25001" if migration.transactional:
            return _NO_TRANSACTION
        case "42601" if not error.position and not error.internal_position:
            return "The server reads more than one statement here: end each one with a semicolon outside parentheses."
        case "25006":
            return READ_ONLY_SERVER if await _fetch(session, "read_only") else _READ_ONLY_FILE
        case "55P04":
            return "Add the value of the enum in a file of its own, before the one that uses it."
        case "2D000" if migration.transactional:
            return f"A procedure or a DO block that commits cannot run in a transaction. {_NO_TRANSACTION}"
        case "42P07" | "42703" | "23502" | "23505" | "42804" if f'"{history.table_name}"' in message:
            return _name_of_the_history(history)
        case "42P01" if re.search(rf'"(?:{re.escape(history.schema)}\.)?{re.escape(history.table_name)}"', message):
            return _name_of_the_history(history)
        case "42P06" if f'"{history.schema}"' in message:
            return (
                "The schema of the module is created before its files run: write CREATE SCHEMA IF NOT EXISTS, or "
                "remove the statement."
            )
        case "42501":
            return await _grant(session, message)
        case "42704" | "42883" | "42P01":
            return await _elsewhere(session, message)
    return ""


def _name_of_the_history(history: History) -> str:
    # Dumps by other tools create a table with this name, and insert the versions that they have applied.
    return (
        f"{history.table} is the history of pgdbm. Remove the statement if another tool generated it. If the file "
        f"needs a table with that name, keep the history in another one, with migrations_table='pgdbm_migrations'."
    )


async def _grant(session: Session, message: str) -> str:
    unqualified = _UNQUALIFIED_IN_CATALOG.search(message)
    if unqualified:
        return _qualify(unqualified[1])
    denied = _PERMISSION_DENIED.search(message)
    if denied is None:
        return ""
    kind, name = denied.groups()
    user = session.script.role or await _fetch(session, "session_user")
    if not user:
        user = "the role that the file set"
    privileges = {"schema": "USAGE, CREATE", "database": "CREATE", "function": "EXECUTE", "type": "USAGE"}
    what = privileges.get(kind, "…")
    keyword = "TABLE" if kind == "view" else kind.upper()
    return f"Let the owner run: GRANT {what} ON {keyword} {name} TO {user}"


async def _elsewhere(session: Session, message: str) -> str:
    """The advice if the missing object exists in a schema that is not in the search_path."""
    found = _FUNCTION.search(message) or _QUOTED.search(message)
    name = found[1] if found else ""
    if not name or "." in name:
        return ""
    row = await _fetch(session, "elsewhere", name)
    if not row:
        return ""
    schema, extension = row.split("\n")
    if schema == session.history.schema and not extension:
        return _qualify(name)
    belongs = f" (extension {extension})" if extension else ""
    return f"{name} is in schema {schema}{belongs}, which is not in the search_path: write {schema}.{name}" + (
        f", or ALTER EXTENSION {extension} SET SCHEMA to one that is." if extension else "."
    )


def _qualify(name: str) -> str:
    return (
        f"An unqualified name is looked up in the search_path of the connection, and on a shared pool the module's "
        f"schema is not in it: write {{{{tables.{name}}}}}."
    )


async def _fetch(session: Session, name: str, *values: str) -> str:
    try:
        answer = await session.connection.fetchval(statement("advice", name), *values)
    except FAILURES as error:
        logger.debug("No advice, because the catalog could not be read: %s", error)
        return ""
    return str(answer or "")
