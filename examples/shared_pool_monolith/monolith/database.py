"""How a route gets its module's manager: `Annotated[AsyncDatabaseManager, database_of("users")]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import Depends, Request

if TYPE_CHECKING:
    from pgdbm import AsyncDatabaseManager


def database_of(module: str) -> object:
    def database(request: Request) -> AsyncDatabaseManager:
        db: AsyncDatabaseManager = request.app.state.databases[module]
        return db

    return Depends(database)
