"""``pgdbm schema list`` and ``show``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

import pgdbm

from ..sql import statement
from .errors import CommandError
from .options import DATABASE, command
from .output import size, utc

if TYPE_CHECKING:
    from .context import CommandContext


@click.group()
def schema() -> None:
    """Show the schemas of the database."""


@command(schema, "list", DATABASE)
async def list_schemas(context: CommandContext) -> None:
    """List the schemas with their owner, tables, size and configured modules."""
    async with context.pool() as pool:
        items = await pgdbm.AsyncDatabaseManager(pool=pool).fetch_all(statement("database", "schemas"), None)
    for item in items:
        item["modules"] = _configured(context, item["name"])
    heading = ("SCHEMA", "OWNER", "TABLES", "SIZE", "MODULES")
    context.output.table(
        [
            heading,
            *(
                (item["name"], item["owner"], item["tables"], size(item["size_bytes"]), ", ".join(item["modules"]))
                for item in items
            ),
        ]
    )
    context.output.document({"items": items})


@command(schema, "show", DATABASE)
@click.argument("name")
async def show(context: CommandContext, name: str) -> None:
    """Show one schema: its tables and the modules in its history."""
    from ..core.templating import quote

    async with context.pool() as pool:
        db = pgdbm.AsyncDatabaseManager(pool=pool)
        found = await db.fetch_one(statement("database", "schemas"), name)
        if found is None:
            known = [item["name"] for item in await db.fetch_all(statement("database", "schemas"), None)]
            raise CommandError(
                f"Schema {name!r} does not exist.", "schema_unknown", hint=f"Known: {', '.join(known)}.", schema=name
            )
        tables = await db.fetch_all(statement("database", "relations"), name)
        table = context.project.migrations_table
        modules: list[dict[str, Any]] = []
        if any(one["name"] == table for one in tables):
            modules = await db.fetch_all(statement("database", "modules", history=f"{quote(name)}.{quote(table)}"))
    output = context.output
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
    output.document({**found, "modules": modules, "relations": tables, "configured": _configured(context, name)})


def _configured(context: CommandContext, schema: str) -> list[str]:
    return [module.name for module in context.project.modules if module.schema == schema]
