"""The search_path of the files of a module."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.config import NEUTRAL_SEARCH_PATH
from ...core.pool import ConfiguredPool
from ...core.templating import quote

if TYPE_CHECKING:
    from ...core.manager import AsyncDatabaseManager


def search_path_of_files(db: AsyncDatabaseManager, schema: str) -> str | None:
    """The search_path with which the files of ``schema`` run; None to keep that of ``db``'s connections.

    With the neutral search_path of a shared pool, no unqualified name is found. That search_path is meant for queries.
    A migration belongs to one schema, and its unqualified names are resolved as on a connection to that schema alone.
    """
    pool = db.pool
    if not isinstance(pool, ConfiguredPool) or pool.search_path != NEUTRAL_SEARCH_PATH:
        return None
    # Extensions are usually in public.
    return quote(schema) if schema == "public" else f"{quote(schema)}, public"
