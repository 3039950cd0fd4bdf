"""Billing: invoices, and what users owe."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, PositiveInt

from pgdbm import AsyncDatabaseManager

from ..database import database_of

router = APIRouter(prefix="/billing", tags=["billing"])
Database = Annotated[AsyncDatabaseManager, database_of("billing")]


class NewInvoice(BaseModel):
    user_id: int
    cents: PositiveInt


@router.post("/invoices", status_code=201)
async def create_invoice(invoice: NewInvoice, db: Database) -> dict[str, Any]:
    invoice_id = await db.execute_and_return_id(
        "INSERT INTO {{tables.invoices}} (user_id, cents) SELECT id, $2 FROM {{tables.users.users}} WHERE id = $1",
        invoice.user_id,
        invoice.cents,
    )
    if invoice_id is None:
        raise HTTPException(status_code=404, detail="There is no such user.")
    return {"id": invoice_id}


@router.post("/invoices/{invoice_id}/payment", status_code=204)
async def pay(invoice_id: int, db: Database) -> None:
    if await db.execute("UPDATE {{tables.invoices}} SET paid = true WHERE id = $1", invoice_id) == "UPDATE 0":
        raise HTTPException(status_code=404, detail="There is no such invoice.")


@router.get("/debtors")
async def debtors(db: Database) -> list[dict[str, Any]]:
    return await db.fetch_all(
        "SELECT u.email, sum(i.cents)::bigint AS cents"
        " FROM {{tables.invoices}} i JOIN {{tables.users.users}} u ON u.id = i.user_id"
        " WHERE NOT i.paid GROUP BY u.email ORDER BY u.email"
    )
