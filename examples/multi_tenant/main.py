"""An application with a schema for each customer, created when they sign up."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Path, Request
from pydantic import BaseModel
from tenants import Tenants

from pgdbm import AsyncDatabaseManager, DatabaseConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    config = DatabaseConfig(
        connection_string=os.environ["DATABASE_URL"],
        min_connections=1,
        max_connections=int(os.environ.get("DB_MAX_CONN", "10")),
    )
    pool = await AsyncDatabaseManager.create_shared_pool(config)
    try:
        app.state.tenants = Tenants(pool)
        await app.state.tenants.migrate()
        yield
    finally:
        await pool.close()


def all_tenants(request: Request) -> Tenants:
    tenants: Tenants = request.app.state.tenants
    return tenants


AllTenants = Annotated[Tenants, Depends(all_tenants)]
# PostgreSQL's limit of 63 characters for a name, minus `tenant_`.
TenantName = Annotated[str, Path(pattern="^[a-z][a-z0-9_]{0,55}$")]


async def tenant_database(tenant: TenantName, tenants: AllTenants) -> AsyncDatabaseManager:
    db = await tenants.find(tenant)
    if db is None:
        raise HTTPException(status_code=404, detail="There is no such tenant.")
    return db


# Add your authentication to `tenant_database`: it has to check that the client belongs to the tenant.
TenantDatabase = Annotated[AsyncDatabaseManager, Depends(tenant_database)]


class NewProject(BaseModel):
    title: str


app = FastAPI(title="Projects", lifespan=lifespan)


@app.put("/tenants/{tenant}", status_code=201)
async def sign_up(tenant: TenantName, tenants: AllTenants) -> dict[str, str]:
    if not await tenants.sign_up(tenant):
        raise HTTPException(status_code=409, detail="There is already a tenant with this name.")
    return {"name": tenant}


@app.post("/tenants/{tenant}/projects", status_code=201)
async def create_project(project: NewProject, db: TenantDatabase) -> dict[str, Any]:
    project_id = await db.execute_and_return_id("INSERT INTO {{tables.projects}} (title) VALUES ($1)", project.title)
    return {"id": project_id, "title": project.title}


@app.get("/tenants/{tenant}/projects")
async def list_projects(db: TenantDatabase) -> list[dict[str, Any]]:
    return await db.fetch_all("SELECT id, title FROM {{tables.projects}} ORDER BY id")
