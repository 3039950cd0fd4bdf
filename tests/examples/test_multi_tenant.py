from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from .conftest import Programs, Service

TENANTS = [f"tenant_{number}" for number in range(20)]


@pytest.fixture
def service(programs: Programs, examples: Path) -> Service:
    # Fewer connections than tenants: sign-ups must share.
    return programs.serve(examples / "multi_tenant", "main:app", DB_MAX_CONN="5")


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=service.url, trust_env=False, timeout=30) as client:
        yield client


async def test_twenty_tenants_at_once_see_nothing_of_each_other(
    client: httpx.AsyncClient, connect: Callable[[], AbstractAsyncContextManager[Any]]
) -> None:
    async def begin(tenant: str) -> Any:
        assert (await client.put(f"/tenants/{tenant}")).status_code == 201
        created = await client.post(f"/tenants/{tenant}/projects", json={"title": f"Secret of {tenant}"})
        assert created.json() == {"id": 1, "title": f"Secret of {tenant}"}
        return (await client.get(f"/tenants/{tenant}/projects")).json()

    seen = await asyncio.gather(*(begin(tenant) for tenant in TENANTS))

    assert seen == [[{"id": 1, "title": f"Secret of {tenant}"}] for tenant in TENANTS]
    async with connect() as connection:
        for tenant in TENANTS:
            history = await connection.fetch(f"SELECT filename FROM tenant_{tenant}.schema_migrations ORDER BY id")
            assert [row["filename"] for row in history] == ["001_create_projects.sql", "002_create_tasks.sql"]


async def test_one_name_goes_to_one_tenant(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(client.put("/tenants/acme") for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409]


@pytest.mark.parametrize("name", ["Acme", "a-b", "1a", 'a"; DROP SCHEMA registry; --', "a" * 57, "registry.tenants"])
async def test_a_name_that_is_no_plain_name_is_refused(client: httpx.AsyncClient, name: str) -> None:
    assert (await client.put(f"/tenants/{name}")).status_code == 422
    assert (await client.get(f"/tenants/{name}/projects")).status_code == 422


async def test_who_never_signed_up_has_nothing(client: httpx.AsyncClient) -> None:
    assert (await client.get("/tenants/stranger/projects")).status_code == 404
    assert (await client.post("/tenants/stranger/projects", json={"title": "x"})).status_code == 404


async def test_a_new_migration_reaches_the_tenants_of_before_at_the_next_start(
    programs: Programs, examples: Path, tmp_path: Path
) -> None:
    ...
