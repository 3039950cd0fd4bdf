from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING, Any

import httpx2

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from .conftest import Programs

    Connect = Callable[[], AbstractAsyncContextManager[Any]]

TENANTS = [f"tenant_{number}" for number in range(20)]


async def begin(client: httpx2.AsyncClient, tenant: str) -> Any:
    """Sign up, write something, and return what the tenant sees then."""
    assert (await client.put(f"/tenants/{tenant}")).status_code == 201
    created = await client.post(f"/tenants/{tenant}/projects", json={"title": f"Secret of {tenant}"})
    assert created.json() == {"id": 1, "title": f"Secret of {tenant}"}
    return (await client.get(f"/tenants/{tenant}/projects")).json()


async def check_names(client: httpx2.AsyncClient) -> None:
    """A name belongs to one tenant, and is valid for a schema."""
    answers = await asyncio.gather(*(client.put("/tenants/acme") for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409]
    for name in ("Acme", "a-b", "1a", "a%22;%20DROP%20SCHEMA%20registry;%20--", "a" * 57, "registry.tenants"):
        assert (await client.put(f"/tenants/{name}")).status_code == 422, name
        assert (await client.get(f"/tenants/{name}/projects")).status_code == 422, name
    longest = "a" * 56
    assert (await client.get(f"/tenants/{longest}/projects")).status_code == 404
    assert (await client.put(f"/tenants/{longest}")).status_code == 201
    assert (await client.get(f"/tenants/{longest}/projects")).json() == []


async def test_twenty_concurrent_tenants_are_isolated(programs: Programs, examples: Path, connect: Connect) -> None:
    # Fewer connections than tenants: sign-ups must share.
    service = programs.serve(examples / "multi_tenant", "main:app", DB_MAX_CONN="5")
    async with httpx2.AsyncClient(base_url=service.url, trust_env=False, timeout=30) as client:
        seen = await asyncio.gather(*(begin(client, tenant) for tenant in TENANTS))
        await check_names(client)

    assert seen == [[{"id": 1, "title": f"Secret of {tenant}"}] for tenant in TENANTS]
    async with connect() as connection:
        for tenant in TENANTS:
            history = await connection.fetch(f"SELECT filename FROM tenant_{tenant}.schema_migrations ORDER BY id")
            assert [row["filename"] for row in history] == ["001_create_projects.sql", "002_create_tasks.sql"]


async def test_a_new_migration_reaches_the_tenants_of_before_at_the_next_start(
    programs: Programs, examples: Path, tmp_path: Path, connect: Connect
) -> None:
    folder = tmp_path / "multi_tenant"
    shutil.copytree(examples / "multi_tenant", folder, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    before = programs.serve(folder, "main:app")
    with before.client() as client:
        for tenant in ("acme", "globex"):
            assert client.put(f"/tenants/{tenant}").status_code == 201
            assert client.post(f"/tenants/{tenant}/projects", json={"title": tenant}).status_code == 201
    before.stop()
    (folder / "migrations" / "tenant" / "003_archive.sql").write_text(
        "ALTER TABLE {{tables.projects}} ADD COLUMN archived boolean NOT NULL DEFAULT false;"
    )
    programs.serve(folder, "main:app")
    async with connect() as connection:
        for tenant in ("acme", "globex"):
            rows = await connection.fetch(f"SELECT title, archived FROM tenant_{tenant}.projects")
            assert [tuple(row) for row in rows] == [(tenant, False)]
