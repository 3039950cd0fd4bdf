"""Users: depends on no other module."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel

from pgdbm import AsyncDatabaseManager

from ..database import database_of

router = APIRouter(prefix="/users", tags=["users"])
Database = Annotated[AsyncDatabaseManager, database_of("users")]


class NewUser(BaseModel):
    email: str


@router.post("", status_code=201)
async def create_user(user: NewUser, db: Database) -> dict[str, Any]:
    user_id = await db.execute_and_return_id(
        "INSERT INTO {{tables.users}} (email) VALUES ($1) ON CONFLICT (email) DO NOTHING", user.email
    )
    if user_id is None:
        raise HTTPException(status_code=409, detail="There is already a user with this address.")
    return {"id": user_id, "email": user.email}
