from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from .conftest import Programs

ADA = {"email": "ada@example.com", "name": "Ada"}


async def test_users_are_kept_over_a_restart(
    programs: Programs, examples: Path, connect: Callable[[], AbstractAsyncContextManager[Any]]
) -> None:
    folder = examples / "standalone_service"
    service = programs.serve(folder, "main:app")
    with service.client() as client:
        created = client.post("/users", json=ADA)
        assert (created.status_code, created.json()) == (201, {"id": 1, **ADA})
        assert client.get("/users/1").json() == created.json()
        assert client.get("/users/2").status_code == 404
        assert client.post("/users", json=ADA).status_code == 409
        assert client.post("/users", json={"name": "No email"}).status_code == 422
    service.stop()
    assert "Application shutdown complete" in service.output

    restarted = programs.serve(folder, "main:app")
    with restarted.client() as client:
        assert client.get("/users/1").json() == created.json()
    async with connect() as connection:
        rows = await connection.fetch("SELECT module_name, filename FROM public.schema_migrations ORDER BY id")
    assert [tuple(row) for row in rows] == [
        ("users", "001_create_users.sql"),
        ("users", "002_unique_emails.sql"),
    ]
