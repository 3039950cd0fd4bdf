from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx2

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from .conftest import Programs

POOL_SIZE = 2


async def test_three_modules_work_together_on_one_pool(
    programs: Programs, examples: Path, connect: Callable[[], AbstractAsyncContextManager[Any]]
) -> None:
    # The test would detect a pool per module: each would open POOL_SIZE more connections.
    service = programs.serve(
        examples / "shared_pool_monolith",
        "monolith.main:app",
        DB_MIN_CONN=str(POOL_SIZE),
        DB_MAX_CONN=str(POOL_SIZE),
    )
    with service.client() as client:
        for name in ("ada", "grace"):
            assert client.post("/users", json={"email": f"{name}@example.com"}).status_code == 201
        assert client.post("/users", json={"email": "ada@example.com"}).status_code == 409
        for user, cents in ((1, 1250), (1, 250), (2, 99)):
            assert client.post("/billing/invoices", json={"user_id": user, "cents": cents}).status_code == 201
        assert client.post("/billing/invoices", json={"user_id": 3, "cents": 1}).status_code == 404
        assert client.post("/billing/invoices/3/payment").status_code == 204
        assert client.post("/billing/invoices/4/payment").status_code == 404
        assert client.get("/billing/debtors").json() == [{"email": "ada@example.com", "cents": 1500}]
        reminders = [
            {"invoice_id": 1, "email": "ada@example.com", "text": "Please pay 1250 cents."},
            {"invoice_id": 2, "email": "ada@example.com", "text": "Please pay 250 cents."},
        ]
        assert client.post("/notifications/reminders").json() == reminders
        assert client.post("/notifications/reminders").json() == []
        assert client.get("/notifications/reminders").json() == reminders

    async with httpx2.AsyncClient(base_url=service.url, trust_env=False, timeout=30) as client, connect() as connection:
        answers = await asyncio.gather(
            *(client.get(path) for path in ("/billing/debtors", "/notifications/reminders") * 10),
            *(client.post("/users", json={"email": f"user-{number}@example.com"}) for number in range(10)),
        )
        assert {answer.status_code for answer in answers} == {200, 201}
        assert (
            await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'monolith'")
            == POOL_SIZE
        )
        histories = {
            schema: await connection.fetch(f"SELECT module_name, filename FROM {schema}.schema_migrations")
            for schema in ("users", "billing", "notifications")
        }
    assert {schema: [tuple(row) for row in rows] for schema, rows in histories.items()} == {
        "users": [("users", "001_create_users.sql")],
        "billing": [("billing", "001_create_invoices.sql")],
        "notifications": [("notifications", "001_create_reminders.sql")],
    }
    assert "another connection pool" not in service.output
