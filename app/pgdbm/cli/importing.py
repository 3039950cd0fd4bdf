"""``pgdbm migrate import`` and ``convert``: switching from another migration tool."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import pgdbm

from .errors import MISUSED, CommandError
from .migrate import migrate
from .options import DATABASE, MODULE, command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .context import CommandContext

# The same as pgdbm.migrations.importers.TOOLS, which is not used because it imports asyncpg.
TOOL_NAMES = (
    "alembic",
    "dbmate",
    "django",
    "drizzle",
    "flyway",
    "golang-migrate",
    "goose",
    "knex",
    "liquibase",
    "node-pg-migrate",
    "prisma",
    "sqitch",
    "supabase",
    "yoyo",
)

_TOOL = click.Choice(TOOL_NAMES)
_FROM = click.Option(["--from", "tool"], type=_TOOL, required=True, help="The tool.")
_FROM_OR_DETECT = click.Option(["--from", "tool"], type=_TOOL, help="The tool.")
_MOST_SHOWN = 20


@command(migrate, "import", (_FROM_OR_DETECT,), MODULE, DATABASE)
@click.option(
    "--detect", "only_detect", is_flag=True, help="Show which tools have migrated the database, and change nothing."
)
@click.option(
    "--source-schema",
    metavar="NAME",
    help="The schema of the tool's table.  [default: the tool's, or the module's schema]",
)
@click.option("--source-table", metavar="NAME", help="The tool's table.  [default: the tool's default]")
@click.option("--dry-run", is_flag=True, help="Show what would be imported, and change nothing.")
async def import_(
    context: CommandContext,
    tool: Any,
    only_detect: bool,
    source_schema: str | None,
    source_table: str | None,
    dry_run: bool,
    module_options: tuple[str, ...],
    folder: Path | None,
    schema: str | None,
) -> None:
    """Import the history of another tool, so that the migrations it applied are not pending.

    Runs no migration and does not write to the tool's table. If the files have another format, convert them first with
    `pgdbm migrate convert`.
    """
    from ..migrations.importers import import_history

    if only_detect:
        await _detect(context)
        return
    if tool is None:
        raise CommandError(
            "The tool is missing.",
            "usage",
            exit_code=MISUSED,
            hint="Add --from, or --detect to find out which tools have migrated the database.",
        )
    module = context.module(module_options, folder, schema)
    context.require_folders([module])
    async with context.pool(module.schema) as pool:
        report = await import_history(
            pgdbm.AsyncDatabaseManager(pool=pool, schema=module.schema),
            tool,
            module.path,
            module.name,
            source_schema=source_schema,
            source_table=source_table,
            migrations_table=context.project.migrations_table,
            lock_wait_timeout=context.project.lock_wait_timeout,
            dry_run=dry_run,
        )
    output = context.output
    imported, known = len(report.imported), len(report.already_applied)
    counts = f"{imported} {'to import' if dry_run else 'imported'}, {known} already recorded"
    output.line(f"{module.name} (schema {module.schema}): {counts}, {len(report.checked)} checksums verified")
    for heading, names in (
        ("Imported", report.imported),
        ("Applied by the tool, without a file", report.unmatched),
        ("Marked as failed by the tool", report.failed),
        ("Pending", report.pending),
    ):
        _print_names(context, heading, names)
    _print_notes(context, report.notes)
    output.document(
        {"tool": tool, "module": module.name, "schema": module.schema, "dry_run": dry_run, **asdict(report)}
    )


async def _detect(context: CommandContext) -> None:
    from ..migrations.importers import detect

    async with context.pool("public") as pool:
        found = await detect(pgdbm.AsyncDatabaseManager(pool=pool, schema="public"))
    for one in found:
        context.output.line(f"{one.tool}: {one.schema}.{one.table}")
    if not found:
        context.output.line(
            "There is no table of a known tool. If its name was configured, use --from with --source-table."
        )
    context.output.document({"tools": [asdict(one) for one in found]})


@command(migrate, "convert", (_FROM,))
@click.argument("source", metavar="FOLDER", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("destination", metavar="NEW_FOLDER", type=click.Path(path_type=Path, file_okay=False))
def convert(context: CommandContext, tool: Any, source: Path, destination: Path) -> None:
    """Convert the migrations of another tool in FOLDER to migrations for pgdbm.

    Existing files are not overwritten, and FOLDER is not changed. For alembic, django, knex, liquibase and
    node-pg-migrate, FOLDER contains upgrade.sql and optionally downgrade.sql, which the tool exports.
    """
    from ..migrations import importers

    conversion = importers.convert(tool, source, destination)
    context.output.line(f"{len(conversion.written)} files written into {destination}")
    _print_notes(context, conversion.notes)
    context.output.document({"tool": tool, "folder": str(destination), **asdict(conversion)})


def _print_names(context: CommandContext, heading: str, names: Sequence[str]) -> None:
    if names:
        context.output.line(f"{heading}:")
        for name in names[:_MOST_SHOWN]:
            context.output.line(f"  {name}")
        if len(names) > _MOST_SHOWN:
            context.output.line(f"  and {len(names) - _MOST_SHOWN} more")


def _print_notes(context: CommandContext, notes: Sequence[str]) -> None:
    for note in notes:
        context.output.line(f"Note: {note}")
