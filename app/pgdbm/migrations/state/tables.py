"""What the server knows about tables that are about to change, as far as that can be read without waiting for a
lock."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import asyncpg

from ...sql import statement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...core.connection import Connection

logger = logging.getLogger("pgdbm.migrations")


async def read_use(connection: Connection, relations: Sequence[str]) -> dict[str, Sequence[Any]]:
    """The size and use of those ``relations`` that are tables, by name. One query; none without relations.

    Nothing is read while another session holds one of the tables with ACCESS EXCLUSIVE.
    """
    if not relations:
        return {}
    try:
        rows = await connection.fetch(statement("impact", "use"), list(relations))
    except asyncpg.LockNotAvailableError as error:
        logger.info("The sizes of the tables were not read: %s", error)
        return {}
    return {name: columns for name, *columns in rows}


async def read_facts(connection: Connection, relations: Sequence[str]) -> dict[str, Sequence[Any]]:
    """The same, with their constraints. Waits for no lock."""
    if not relations:
        return {}
    return {name: columns for name, *columns in await connection.fetch(statement("impact", "facts"), list(relations))}
