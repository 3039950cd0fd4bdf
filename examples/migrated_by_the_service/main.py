"""Orders over HTTP. The init container waits until the tables exist."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from pydantic import BaseModel

from pgdbm import AsyncDatabaseManager, DatabaseConfig


class Order(BaseModel):
    product: str
    quantity: int = 1


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    config = DatabaseConfig(connection_string=os.environ["DATABASE_URL"], schema="orders")
    async with AsyncDatabaseManager(config) as db:
        app.state.db = db
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/orders", status_code=201)
async def create_order(order: Order, request: Request) -> dict[str, Any]:
    row = await request.app.state.db.fetch_one(
        "INSERT INTO {{tables.orders}} (product, quantity) VALUES ($1, $2) RETURNING id, product, quantity",
        order.product,
        order.quantity,
    )
    return dict(row)


@app.get("/orders")
async def list_orders(request: Request) -> list[dict[str, Any]]:
    rows = await request.app.state.db.fetch_all("SELECT id, product, quantity FROM {{tables.orders}} ORDER BY id")
    return [dict(row) for row in rows]
