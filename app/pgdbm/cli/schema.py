"""``pgdbm schema list`` and ``show``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from . import catalog
from .options import DATABASE, command
from .output import size, utc
from .problems import CommandError

if TYPE_CHECKING:
    from .session import Session


@click.group()
def schema() -> None:
    """Look at the schemas of the database."""


@command(schema, "list", DATABASE)
async def list_schemas(session: Session) -> None:
    """List the schemas with their owner, tables, size and configured modules."""
    from .. import AsyncDatabaseManager

    async with session.pool() as pool:
        items = await AsyncDatabaseManager(pool=pool).fetch_all(catalog.SCHEMAS, None)
    for item in items:
        item["modules"] = _configured(session, item["name"])
    heading = ("SCHEMA", "OWNER", "TABLES", "SIZE", "MODULES")
    session.output.table(
        [
            heading,
            *(
                (item["name"], item["owner"], item["tables"], size(item["size_bytes"]), ", ".join(item["modules"]))
                for item in items
            ),
        ]
    )
    session.output.document({"items": items})


@command(schema, "show", DATABASE)
@click.argument("name")
async def show(session: Session, name: str) -> None:
    """Show one schema: its tables, and the modules that its history has."""
    from .. import AsyncDatabaseManager

    async with session.pool() as pool:
        db = AsyncDatabaseManager(pool=pool)
        found = await db.fetch_one(catalog.SCHEMAS, name)
        if found is None:
            known = [item["name"] for item in await db.fetch_all(catalog.SCHEMAS, None)]
            raise CommandError(
                f"There is no schema {name!r}.", "schema_unknown", hint=f"There are {', '.join(known)}.", schema=name
            )
        tables = await db.fetch_all(catalog.TABLES, name)
        table = session.project.migrations_table
        modules: list[dict[str, Any]] = []
        if any(one["name"] == table for one in tables):
            modules = await db.fetch_all(catalog.modules_in(name, table))
    output = session.output
    output.line(f"{name}: owner {found['owner']}, {found['tables']} tables, {size(found['size_bytes'])}")
    if modules:
        output.line()
        output.table(
            [("MODULE", "APPLIED", "LAST"), *((m["module"], m["applied"], utc(m["last_applied_at"])) for m in modules)]
        )
    if tables:
        output.line()
        columns = ("name", "kind", "estimated_rows", "indexes")
        output.table(
            [
                ("NAME", "KIND", "ROWS (ABOUT)", "INDEXES", "SIZE"),
                *((*(one[column] for column in columns), size(one["size_bytes"])) for one in tables),
            ]
        )
    output.document({**found, "modules": modules, "relations": tables, "configured": _configured(session, name)})


def _configured(session: Session, schema: str) -> list[str]:
    return [module.name for module in session.project.modules if module.schema == schema]
