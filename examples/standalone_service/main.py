"""A service with its own database: one manager, one pool, one folder of migrations."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, DatabaseConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MIGRATIONS = Path(__file__).parent / "migrations"


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    config = DatabaseConfig(
        connection_string=os.environ["DATABASE_URL"],
        min_connections=int(os.environ.get("DB_MIN_CONN", "1")),
        max_connections=int(os.environ.get("DB_MAX_CONN", "10")),
    )
    async with AsyncDatabaseManager(config) as db:
        # Several instances can start at the same time: one of them migrates, the others wait for it.
        await AsyncMigrationManager(db, MIGRATIONS, module_name="users").apply_pending_migrations()
        app.state.db = db
        yield


def database(request: Request) -> AsyncDatabaseManager:
    db: AsyncDatabaseManager = request.app.state.db
    return db


Database = Annotated[AsyncDatabaseManager, Depends(database)]


class NewUser(BaseModel):
    email: str
    name: str


app = FastAPI(title="Users", lifespan=lifespan)


@app.post("/users", status_code=201)
async def create_user(user: NewUser, db: Database) -> dict[str, Any]:
    user_id = await db.execute_and_return_id(
        "INSERT INTO {{tables.users}} (email, name) VALUES ($1, $2) ON CONFLICT (email) DO NOTHING",
        user.email,
        user.name,
    )
    if user_id is None:
        raise HTTPException(status_code=409, detail="There is already a user with this address.")
    return {"id": user_id, "email": user.email, "name": user.name}


@app.get("/users/{user_id}")
async def get_user(user_id: int, db: Database) -> dict[str, Any]:
    user = await db.fetch_one("SELECT id, email, name FROM {{tables.users}} WHERE id = $1", user_id)
    if user is None:
        raise HTTPException(status_code=404, detail="There is no such user.")
    return user
