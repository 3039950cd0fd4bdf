"""The application beside the worker: `python shop.py ada grace` places an order for each, and adds a job for each."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, DatabaseConfig

MIGRATIONS = Path(__file__).parent / "migrations"


async def place_order(db: AsyncDatabaseManager, customer: str) -> int:
    # Order and job are in one transaction: neither exists without the other.
    async with db.transaction() as tx:
        order: int = await tx.execute_and_return_id("INSERT INTO {{tables.orders}} (customer) VALUES ($1)", customer)
        await tx.execute(
            "INSERT INTO {{tables.worker.jobs}} (payload) VALUES ($1)",
            json.dumps({"order": order, "customer": customer}),
        )
    return order


async def main(customers: list[str]) -> None:
    config = DatabaseConfig(connection_string=os.environ["DATABASE_URL"], min_connections=1, max_connections=2)
    pool = await AsyncDatabaseManager.create_shared_pool(config)
    try:
        # The worker's table, too, in case no worker has started yet: each migration runs once, even if both apply it.
        for module in ("worker", "shop"):
            db = AsyncDatabaseManager(pool=pool, schema=module)
            await AsyncMigrationManager(db, MIGRATIONS / module, module_name=module).apply_pending_migrations()
        shop = AsyncDatabaseManager(pool=pool, schema="shop")
        for customer in customers:
            order = await place_order(shop, customer)
            sys.stdout.write(f"order {order} of {customer}\n")
    finally:
        await pool.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
