"""How a route asks for its module's manager: `Annotated[AsyncDatabaseManager, Depends(database_of("users"))]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import Request  # noqa: TC002 - FastAPI reads the annotation

    from pgdbm import AsyncDatabaseManager


def database_of(module: str) -> Callable[[Request], AsyncDatabaseManager]:
    def database(request: Request) -> AsyncDatabaseManager:
        db: AsyncDatabaseManager = request.app.state.databases[module]
        return db

    return database
