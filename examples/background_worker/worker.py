"""Processes the jobs in the schema `worker`. Run any number of them. After SIGTERM a worker finishes its job."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, DatabaseConfig

MIGRATIONS = Path(__file__).parent / "migrations" / "worker"
POLL_S = 0.2
MOST_ATTEMPTS = 3
WORK_S = float(os.environ.get("WORK_S", "0.1"))

logger = logging.getLogger("worker")


async def confirm(order: dict[str, Any]) -> str:
    """A slow task, such as an e-mail or a call to another service."""
    await asyncio.sleep(WORK_S)
    return f"Order {order['order']} confirmed to {order['customer']}"


async def run_next_job(db: AsyncDatabaseManager) -> bool:
    """Run the oldest job that no other worker has taken; returns False if there is none.

    The row is locked while the job runs. If this process dies, the server rolls the transaction back, and another
    worker takes the job.
    """
    async with db.transaction() as tx:
        job = await tx.fetch_one(
            "SELECT id, payload FROM {{tables.jobs}} WHERE state = 'waiting' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED"
        )
        if job is None:
            return False
        try:
            outcome = await confirm(json.loads(job["payload"]))
        except Exception as error:
            logger.exception("Job %d failed", job["id"])
            await tx.execute(
                "UPDATE {{tables.jobs}} SET attempts = attempts + 1, outcome = $2,"
                " state = CASE WHEN attempts + 1 < $3 THEN 'waiting' ELSE 'failed' END WHERE id = $1",
                job["id"],
                repr(error),
                MOST_ATTEMPTS,
            )
        else:
            await tx.execute(
                "UPDATE {{tables.jobs}} SET attempts = attempts + 1, outcome = $2, state = 'done' WHERE id = $1",
                job["id"],
                outcome,
            )
    return True


async def main() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    config = DatabaseConfig(
        connection_string=os.environ["DATABASE_URL"],
        schema="worker",
        min_connections=1,
        max_connections=2,
        # A job may take longer than the default limit for idle transactions, one minute.
        idle_in_transaction_session_timeout_ms=None,
    )
    async with AsyncDatabaseManager(config) as db:
        await AsyncMigrationManager(db, MIGRATIONS, module_name="worker").apply_pending_migrations()
        logger.info("Ready")
        while not stop.is_set():
            if not await run_next_job(db):
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), POLL_S)
    logger.info("Stopped")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(main())
