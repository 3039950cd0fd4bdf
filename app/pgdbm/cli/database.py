"""``pgdbm db``: create, drop, inspect and check the database."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Unpack

import click

import pgdbm

from ..dsn import mask, parse_dsn
from ..errors import QueryError
from ..sql import statement
from .checks import Checks
from .errors import FAILED, MISUSED, CommandError, ConfigError
from .options import DATABASE, MODULES, command, seconds_option
from .output import size

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from .context import CommandContext, ModuleSelection
    from .project import ModuleConfig

_MAINTENANCE = (
    click.Option(
        ["--maintenance-db"],
        default="postgres",
        show_default=True,
        metavar="NAME",
        help="The database to connect to while doing so.",
    ),
)
_NEVER_DROPPED = ("postgres", "template0", "template1")


@click.group()
def db() -> None:
    """Create, drop, inspect and check the database."""


@command(db, "create", _MAINTENANCE, DATABASE)
@click.option("--template", metavar="NAME", help="The database to copy.  [default: template1]")
@click.option("--owner", metavar="ROLE", help="The owner.  [default: the user]")
async def create(context: CommandContext, template: str | None, owner: str | None, maintenance_db: str) -> None:
    """Create the database that the URL names. An existing one is not changed."""
    import asyncpg

    from ..core.templating import quote

    name = _named_database(context)
    create_database = f"CREATE DATABASE {quote(name)}"
    for keyword, value in (("TEMPLATE", template), ("OWNER", owner)):
        if value is not None:
            create_database += f" {keyword} {quote(value)}"
    status = "exists"
    async with context.pool(url=parse_dsn(context.url).with_parameters(dbname=maintenance_db)) as pool:
        manager = pgdbm.AsyncDatabaseManager(pool=pool)
        if not await manager.fetch_value(statement("database", "exists"), name):
            try:
                await manager.execute(create_database)
                status = "created"
            except QueryError as error:
                # Another session created it in the meantime.
                if not isinstance(error.original_error, asyncpg.DuplicateDatabaseError | asyncpg.UniqueViolationError):
                    raise
    context.output.line(f"Created {name}." if status == "created" else f"{name} already exists.")
    context.output.document({"database": name, "status": status})


@command(db, "drop", _MAINTENANCE, DATABASE)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation. Required without a terminal.")
@click.option("--force", is_flag=True, help="Terminate other connections to it.")
def drop(context: CommandContext, yes: bool, force: bool, maintenance_db: str) -> Coroutine[Any, Any, None]:
    """Drop the database that the URL names, with everything in it."""
    name = _named_database(context)
    if name in _NEVER_DROPPED:
        raise CommandError(f"Refusing to drop {name}.", "refused", exit_code=MISUSED)
    if not yes:
        if context.output.as_json or not sys.stdin.isatty():
            raise CommandError(
                f"Refusing to drop {name} without confirmation.",
                "confirmation_needed",
                exit_code=MISUSED,
                hint="Give --yes.",
            )
        # Before the event loop starts: inside it, Ctrl-C would not end the prompt.
        if (
            click.prompt(
                f"This drops {mask(context.url)} with everything in it. Enter the name of the database to confirm",
                err=True,
            )
            != name
        ):
            raise CommandError(
                "The name does not match; nothing was dropped.", "confirmation_needed", exit_code=MISUSED
            )
    return _drop(context, name, maintenance_db, force=force)


async def _drop(context: CommandContext, name: str, maintenance_db: str, *, force: bool) -> None:
    from ..core.templating import quote

    async with context.pool(url=parse_dsn(context.url).with_parameters(dbname=maintenance_db)) as pool:
        manager = pgdbm.AsyncDatabaseManager(pool=pool)
        there = await manager.fetch_value(statement("database", "exists"), name)
        await manager.execute(f"DROP DATABASE IF EXISTS {quote(name)}{' WITH (FORCE)' if force else ''}")
    context.output.line(f"Dropped {name}." if there else f"Database {name} does not exist.")
    context.output.document({"database": name, "status": "dropped" if there else "absent"})


@command(db, "info", DATABASE)
async def info(context: CommandContext) -> None:
    """Show the server, the database, its schemas and the number of connections."""
    async with context.pool() as pool:
        manager = pgdbm.AsyncDatabaseManager(pool=pool)
        found = await manager.fetch_one(statement("database", "information"))
        schemas = await manager.fetch_all(statement("database", "schemas"), None)
        stats = await manager.get_pool_stats()
    assert found is not None
    document = {
        "url": mask(context.url),
        **found,
        "schemas": [{"name": one["name"], "size_bytes": one["size_bytes"]} for one in schemas],
        "pool": {name: stats[name] for name in ("min_size", "max_size", "size", "free_size", "used_size")},
    }
    output = context.output
    for label, value in (
        ("url", document["url"]),
        ("server", f"PostgreSQL {found['server_version']}{', in recovery' if found['in_recovery'] else ''}"),
        ("database", f"{found['database']}, {size(found['size_bytes'])}, {found['encoding']}, owner {found['owner']}"),
        ("user", found["user"]),
        ("connections", f"{found['connections']} of {found['max_connections']}"),
        ("pool", f"{stats['size']} open, at most {stats['max_size']}"),
        ("schemas", ", ".join(f"{one['name']} ({size(one['size_bytes'])})" for one in schemas) or "none"),
    ):
        output.line(f"{label:<12} {value}")
    output.document(document)


@command(db, "check", MODULES, DATABASE)
@seconds_option("--long-transactions", "Warn about older transactions.", default=60.0)
async def check(
    context: CommandContext,
    long_transactions: float,
    **selection: Unpack[ModuleSelection],
) -> int:
    """Check that migrations can run: one verdict per line. Exit code 1 if any of them is `fail`."""
    modules: tuple[ModuleConfig, ...] = ()
    if context.project.modules or any(value not in (None, ()) for value in selection.values()):
        modules = context.selected(selection)
        context.require_folders(modules)
    checks = Checks(context.output)
    await checks.run(context, modules, long_transactions)
    context.output.document({"status": checks.status, "checks": checks.results})
    return FAILED if checks.status == "fail" else 0


def _named_database(context: CommandContext) -> str:
    name = parse_dsn(context.url).database
    if not name:
        raise ConfigError("the URL names no database.", hint="Append the name after the host: postgresql://host/name.")
    return name
