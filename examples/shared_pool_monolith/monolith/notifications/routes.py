"""Notifications: one reminder for each unpaid invoice, in one statement over three schemas."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter

from pgdbm import AsyncDatabaseManager

from ..database import database_of

router = APIRouter(prefix="/notifications", tags=["notifications"])
Database = Annotated[AsyncDatabaseManager, database_of("notifications")]


@router.post("/reminders", status_code=201)
async def remind(db: Database) -> list[dict[str, Any]]:
    """Add the missing reminders, and return them."""
    return await db.fetch_all(
        "INSERT INTO {{tables.reminders}} (invoice_id, email, text)"
        " SELECT i.id, u.email, format('Please pay %s cents.', i.cents)"
        " FROM {{tables.billing.invoices}} i JOIN {{tables.users.users}} u ON u.id = i.user_id"
        " WHERE NOT i.paid ON CONFLICT (invoice_id) DO NOTHING RETURNING invoice_id, email, text"
    )


@router.get("/reminders")
async def reminders(db: Database) -> list[dict[str, Any]]:
    return await db.fetch_all("SELECT invoice_id, email, text FROM {{tables.reminders}} ORDER BY invoice_id")
