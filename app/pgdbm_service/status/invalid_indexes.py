"""Indexes that CREATE INDEX CONCURRENTLY or REINDEX left INVALID, even if no file mentions them any longer."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..database.sql import statement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgdbm.core.queries import Queries

    from ..registry.modules import Module


class InvalidIndex(NamedTuple):
    """An index on ``relation`` whose build failed."""

    schema: str
    name: str
    relation: str


async def invalid_indexes(db: Queries) -> list[InvalidIndex]:
    """Every INVALID index of the database that no session is building now, by schema and name; at most a thousand."""
    return [InvalidIndex(**row) for row in await db.fetch_all(statement("schemas", "invalid_indexes"))]


def of_module(indexes: Sequence[InvalidIndex], module: Module) -> list[InvalidIndex]:
    """The ``indexes`` that are in a schema of ``module``."""
    return [index for index in indexes if module.is_for(index.schema)]
