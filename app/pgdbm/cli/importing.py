"""``pgdbm migrate import`` and ``convert``: coming from another migration tool."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .migrate import migrate
from .options import DATABASE, MODULE, command
from .problems import MISUSED, CommandError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .session import Session

# Those of pgdbm.migrations.importers.TOOLS; that one imports asyncpg.
TOOL_NAMES = ("alembic", "dbmate", "flyway", "golang-migrate", "yoyo")

_FROM = click.Option(["--from", "tool"], type=click.Choice(TOOL_NAMES), required=True, help="The tool.")
_MOST_SHOWN = 20


@command(migrate, "import", (_FROM,), MODULE, DATABASE)
@click.option("--source-schema", metavar="NAME", help="Where the tool's table is.  [default: the module's schema]")
@click.option("--source-table", metavar="NAME", help="The tool's table.  [default: the tool's own]")
@click.option("--dry-run", is_flag=True, help="Say what would be imported; change nothing.")
async def import_(
    session: Session,
    tool: Any,
    source_schema: str | None,
    source_table: str | None,
    dry_run: bool,
    module_options: tuple[str, ...],
    folder: Path | None,
    schema: str | None,
) -> None:
    """Take over the history of another tool, so that what it has applied is not pending.

    Runs no migration, and writes nothing into the tool's table. Where its files are not ours, write ours first:
    `pgdbm migrate convert`.
    """
    from .. import AsyncDatabaseManager
    from ..migrations.importers import import_history

    modules = session.modules(module_options, folder, schema)
    session.require_folders(modules)
    if len(modules) != 1:
        raise CommandError(
            "There are several modules.",
            "usage",
            exit_code=MISUSED,
            hint=f"Choose one with --module: {', '.join(module.name for module in modules)}.",
        )
    module = modules[0]
    async with session.pool(module.schema) as pool:
        report = await import_history(
            AsyncDatabaseManager(pool=pool, schema=module.schema),
            tool,
            module.path,
            module.name,
            source_schema=source_schema,
            source_table=source_table,
            migrations_table=session.project.migrations_table,
            lock_wait_timeout=session.project.lock_wait_timeout,
            dry_run=dry_run,
        )
    output = session.output
    counts = f"{len(report.imported)} {'to import' if dry_run else 'imported'}, {len(report.already)} before"
    output.line(f"{module.name} (schema {module.schema}): {counts}, {len(report.checked)} checksums verified")
    for heading, names in (
        ("Imported", report.imported),
        ("Applied by the tool, and no file is there", report.unmatched),
        ("Marked as failed by the tool", report.failed),
        ("Pending now", report.pending),
    ):
        _print_names(session, heading, names)
    _print_notes(session, report.notes)
    output.document(
        {"tool": tool, "module": module.name, "schema": module.schema, "dry_run": dry_run, **asdict(report)}
    )


@command(migrate, "convert", (_FROM,))
@click.argument("source", metavar="FOLDER", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("destination", metavar="NEW_FOLDER", type=click.Path(path_type=Path, file_okay=False))
def convert(session: Session, tool: Any, source: Path, destination: Path) -> None:
    """Write migrations for pgdbm from those of another tool in FOLDER.

    Nothing is written over, and FOLDER is left alone. For Alembic, FOLDER holds upgrade.sql, which
    `alembic upgrade heads --sql` prints, and may hold downgrade.sql.
    """
    from ..migrations import importers

    conversion = importers.convert(tool, source, destination)
    session.output.line(f"{len(conversion.written)} files written into {destination}")
    _print_notes(session, conversion.notes)
    session.output.document({"tool": tool, "folder": str(destination), **asdict(conversion)})


def _print_names(session: Session, heading: str, names: Sequence[str]) -> None:
    if names:
        session.output.line(f"{heading}:")
        for name in names[:_MOST_SHOWN]:
            session.output.line(f"  {name}")
        if len(names) > _MOST_SHOWN:
            session.output.line(f"  and {len(names) - _MOST_SHOWN} more")


def _print_notes(session: Session, notes: Sequence[str]) -> None:
    for note in notes:
        session.output.line(f"Note: {note}")
