"""``pgdbm db``: create, drop, look at and check a database."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from . import catalog, database_url
from .checks import Checks
from .options import DATABASE, MODULES, command
from .output import size
from .problems import FAILED, MISUSED, CommandError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

    from .config import Module
    from .session import Session

_MAINTENANCE = (
    click.Option(
        ["--maintenance-db"],
        default="postgres",
        show_default=True,
        metavar="NAME",
        help="The database to be connected to meanwhile.",
    ),
)
_NEVER_DROPPED = ("postgres", "template0", "template1")


@click.group()
def db() -> None:
    """Create, drop and check the database."""


@command(db, "create", _MAINTENANCE, DATABASE)
@click.option("--template", metavar="NAME", help="The database to copy.  [default: template1]")
@click.option("--owner", metavar="ROLE", help="Its owner.  [default: the user]")
async def create(session: Session, template: str | None, owner: str | None, maintenance_db: str) -> None:
    """Create the database that the URL names. One that is there already is left as it is."""
    import asyncpg

    from .. import AsyncDatabaseManager, QueryError
    from ..core.identifiers import quote

    name = _named_database(session)
    statement = f"CREATE DATABASE {quote(name)}"
    for keyword, value in (("TEMPLATE", template), ("OWNER", owner)):
        if value is not None:
            statement += f" {keyword} {quote(value)}"
    status = "exists"
    async with session.pool(url=database_url.with_database(session.url, maintenance_db)) as pool:
        manager = AsyncDatabaseManager(pool=pool)
        if not await manager.fetch_value(catalog.EXISTS, name):
            try:
                await manager.execute(statement)
                status = "created"
            except QueryError as error:
                # Another session was between our look and our statement.
                if not isinstance(error.original_error, asyncpg.DuplicateDatabaseError | asyncpg.UniqueViolationError):
                    raise
    session.output.line(f"Created {name}." if status == "created" else f"{name} exists already.")
    session.output.document({"database": name, "status": status})


@command(db, "drop", _MAINTENANCE, DATABASE)
@click.option("--yes", is_flag=True, help="Do not ask. Needed where nobody can be asked.")
@click.option("--force", is_flag=True, help="End the connections that others have to it.")
def drop(session: Session, yes: bool, force: bool, maintenance_db: str) -> Coroutine[Any, Any, None]:
    """Drop the database that the URL names, with everything in it."""
    name = _named_database(session)
    if name in _NEVER_DROPPED:
        raise CommandError(f"Refusing to drop {name}.", "refused", exit_code=MISUSED)
    if not yes:
        if session.output.as_json or not sys.stdin.isatty():
            raise CommandError(
                f"Refusing to drop {name} without being told twice.",
                "confirmation_needed",
                exit_code=MISUSED,
                hint="Give --yes.",
            )
        # Asked before the event loop runs: inside of it, Ctrl-C would not end the question.
        if (
            click.prompt(f"This drops {_masked(session)} and everything in it. Type its name to go on", err=True)
            != name
        ):
            raise CommandError("That is not its name; nothing was dropped.", "confirmation_needed", exit_code=MISUSED)
    return _drop(session, name, maintenance_db, force=force)


async def _drop(session: Session, name: str, maintenance_db: str, *, force: bool) -> None:
    from .. import AsyncDatabaseManager
    from ..core.identifiers import quote

    async with session.pool(url=database_url.with_database(session.url, maintenance_db)) as pool:
        manager = AsyncDatabaseManager(pool=pool)
        there = await manager.fetch_value(catalog.EXISTS, name)
        await manager.execute(f"DROP DATABASE IF EXISTS {quote(name)}{' WITH (FORCE)' if force else ''}")
    session.output.line(f"Dropped {name}." if there else f"There is no database {name}.")
    session.output.document({"database": name, "status": "dropped" if there else "absent"})


@command(db, "info", DATABASE)
async def info(session: Session) -> None:
    """Show the server, the database, its schemas and the connections."""
    from .. import AsyncDatabaseManager

    async with session.pool() as pool:
        manager = AsyncDatabaseManager(pool=pool)
        found = await manager.fetch_one(catalog.DATABASE)
        schemas = await manager.fetch_all(catalog.SCHEMAS, None)
        stats = await manager.get_pool_stats()
    assert found is not None
    document = {
        "url": _masked(session),
        **found,
        "schemas": [{"name": one["name"], "size_bytes": one["size_bytes"]} for one in schemas],
        "pool": {name: stats[name] for name in ("min_size", "max_size", "size", "free_size", "used_size")},
    }
    output = session.output
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
@click.option(
    "--long-transactions",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Warn about transactions that are older.",
)
async def check(
    session: Session,
    module_names: tuple[str, ...],
    module_options: tuple[str, ...],
    folder: Path | None,
    schema: str | None,
    long_transactions: float,
) -> int:
    """Check that migrations can run here: a verdict per line. Exit code 1 when one is `fail`."""
    modules: tuple[Module, ...] = ()
    if session.project.modules or folder is not None or module_names or module_options or schema is not None:
        modules = session.modules((*module_names, *module_options), folder, schema)
        session.require_folders(modules)
    checks = Checks(session.output)
    await checks.run(session, modules, long_transactions)
    session.output.document({"status": checks.status, "checks": checks.results})
    return FAILED if checks.status == "fail" else 0


def _masked(session: Session) -> str:
    from ..core.dsn import mask

    return mask(session.url)


def _named_database(session: Session) -> str:
    name = database_url.database_of(session.url)
    if not name:
        raise ConfigError(
            "the database URL names no database.", hint="Write its name behind the host: postgresql://host/name."
        )
    return name
