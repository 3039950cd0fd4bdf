"""``pgdbm migrate apply`` and ``create``."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Unpack

import click

from ..errors import AsyncDBError, MigrationExecutionError
from .errors import MISUSED, PENDING, CommandError, ModuleFailedError
from .groups import LateGroup
from .options import DATABASE, MODULE, MODULES, command, seconds_option

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import TextIO

    import asyncpg

    from ..migrations.results import Notice
    from ..migrations.sources.source import FolderReadOnce
    from .context import CommandContext, ModuleSelection
    from .output import Output
    from .project import ModuleConfig


_LATE = {
    "backfill": "operations:backfill",
    "baseline": "operations:baseline",
    "convert": "importing:convert",
    "drift": "operations:drift",
    "fix": "fix:fix",
    "history": "review:history",
    "import": "importing:import_",
    "journal": "operations:journal",
    "mark": "operations:mark",
    "plan": "review:plan",
    "rehearse": "operations:rehearse",
    "repair": "repair:repair",
    "resolve": "operations:resolve",
    "revert": "operations:revert",
    "status": "review:status",
    "verify": "review:verify",
}


@click.group(cls=LateGroup, late=_LATE)
def migrate() -> None:
    """Apply, inspect and create migrations."""


@command(migrate, "apply", MODULES, DATABASE)
@click.option("--dry-run", is_flag=True, help="Parse and list the pending migrations, and change nothing.")
@click.option("--check", is_flag=True, help="With --dry-run: exit code 3 if migrations are pending.")
@seconds_option("--lock-timeout", "How long a statement waits for a lock; overrides lock_timeout.")
@seconds_option(
    "--lock-wait-timeout", "How long to wait for another runner of the module; overrides lock_wait_timeout."
)
@seconds_option(
    "--end-idle-blockers", "Terminate blocking sessions that have been idle in a transaction for longer than this."
)
@click.option(
    "--end-blockers-of",
    multiple=True,
    metavar="APPLICATION",
    help="Terminate blocking sessions of this application; repeatable.",
)
@click.option(
    "--end-blockers-by",
    multiple=True,
    metavar="ROLE",
    help="Terminate blocking sessions of this role; repeatable.",
)
async def apply(
    context: CommandContext,
    dry_run: bool,
    check: bool,
    lock_timeout: float | None,
    lock_wait_timeout: float | None,
    end_idle_blockers: float | None,
    end_blockers_of: tuple[str, ...],
    end_blockers_by: tuple[str, ...],
    **selection: Unpack[ModuleSelection],
) -> int:
    """Apply the pending migrations of all modules, or of the named ones.

    Modules are migrated in the order of depends_on. The command stops at the first failure; migrations applied
    before it stay applied.
    """
    if check and not dry_run:
        raise CommandError(
            "--check needs --dry-run.",
            "usage",
            exit_code=MISUSED,
            hint="`pgdbm migrate status --check` changes nothing.",
        )
    modules = context.selected(selection)
    context.require_folders(modules)
    given = {"lock_timeout": lock_timeout, "lock_wait_timeout": lock_wait_timeout}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if end_idle_blockers is not None or end_blockers_of or end_blockers_by:
        from ..migrations import BlockerPolicy  # imported lazily: few commands end sessions

        options["end_blockers"] = BlockerPolicy(
            idle_in_transaction_s=end_idle_blockers,
            application_names=end_blockers_of,
            roles=end_blockers_by,
            on_ended=lambda ended: context.output.note(f"{ended.filename}: {ended.message}"),
        )

    sources: dict[str, FolderReadOnce] = {}

    def read() -> None:
        sources.update(context.read_migrations(modules))
        # What is needed next: importing it takes as long as a connection.
        from ..migrations import manager  # noqa: F401

    opening = await context.open_while(read, modules[0].schema)
    results = await apply_modules(context, modules, opening, sources, dry_run=dry_run, options=options)
    states = {result["status"] for result in results}
    pending = any(result["pending"] for result in results)
    overall = "dry_run" if dry_run else "success" if "success" in states else "up_to_date"
    context.output.document({"status": overall, "modules": results})
    return PENDING if check and pending else 0


async def apply_modules(
    context: CommandContext,
    modules: Sequence[ModuleConfig],
    opening: asyncio.Task[asyncpg.Pool[Any]] | None = None,
    sources: Mapping[str, FolderReadOnce] | None = None,
    *,
    dry_run: bool = False,
    options: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Apply each of ``modules`` and print the results; returns them for JSON.

    ``opening``: the pool of the first one. ``sources``: their migrations by name, if they have been read.

    Raises:
        ModuleFailedError: a module failed, or its database could not be reached.
    """
    from .progress import applied_shown

    verbose = logging.getLogger("pgdbm").isEnabledFor(logging.INFO)

    notices: list[Notice] = []

    def show(notice: Notice) -> None:
        notices.append(notice)
        if verbose or notice.severity == "WARNING":
            context.output.note(f"{notice.filename}: {notice.severity}: {notice.message}")

    results: list[dict[str, Any]] = []
    for number, module in enumerate(modules):
        notices.clear()
        try:
            async with context.pool(module.schema, opening=None if number else opening) as pool:
                manager = context.migrations(
                    module, pool, (sources or {}).get(module.name), on_notice=show, **(options or {})
                )
                async with applied_shown(context.output, manager):
                    result = await manager.apply_pending_migrations(dry_run=dry_run)
        except AsyncDBError as error:
            if isinstance(error, MigrationExecutionError) and error.applied:
                _print_applied(context.output, module, error.applied, "then one failed")
            not_reached = [left.name for left in modules[number + 1 :]]
            sent = [one._asdict() for one in notices]
            raise ModuleFailedError(module, error, results, not_reached, sent) from error
        results.append(
            {
                "module": module.name,
                "schema": module.schema,
                "status": result["status"],
                "applied": result["applied"],
                "renamed": result.get("renamed", []),
                "notices": result.get("notices", []),
                "pending": result.get("pending", []),
                "skipped": len(result["skipped"]),
                "total": result["total"],
                "total_time_ms": round(result.get("total_time_ms", 0.0), 1),
            }
        )
        _print_result(context.output, module, results[-1])
    return results


@command(migrate, "create", MODULE)
@click.argument("name")
@click.option(
    "--no-transaction", is_flag=True, help="For statements that cannot run inside a transaction block, such as VACUUM."
)
@click.option(
    "--from",
    "source",
    type=click.File(encoding="utf-8"),
    metavar="FILE",
    help="The SQL of the migration; - reads stdin.",
)
async def create(
    context: CommandContext,
    name: str,
    module_options: tuple[str, ...],
    folder: Path | None,
    schema: str | None,
    no_transaction: bool,
    source: TextIO | None,
) -> None:
    """Create a migration file, YYYYMMDDHHMMSS_NAME.sql.

    Without --from it is empty; applying an empty migration is an error.
    """
    module = context.module(module_options, folder, schema)
    manager = context.migrations(module)
    head = "-- pgdbm:no-transaction\n" if no_transaction else ""
    path = await manager.create_migration(name, f"{head}{source.read().strip() if source else ''}\n")
    context.output.line(f"Created {path}")
    context.output.document({"module": module.name, "path": path})


def _print_result(output: Output, module: ModuleConfig, result: Mapping[str, Any]) -> None:
    if result["status"] == "success":
        _print_applied(output, module, result["applied"], f"{result['total_time_ms']:.0f} ms in total")
        _print_renamed(output, result)
    elif result["status"] == "dry_run" and result["pending"]:
        output.line(f"{module.name} (schema {module.schema}): {len(result['pending'])} pending")
        for filename in result["pending"]:
            output.line(f"  {filename}")
        _print_renamed(output, result)
    else:
        output.line(f"{module.name} (schema {module.schema}): up to date, {result['total']} applied")


def _print_renamed(output: Output, result: Mapping[str, Any]) -> None:
    for one in result["renamed"]:
        output.line(f"  {one['filename']} was applied as {one['applied_as']} and is not run again")


def _print_applied(output: Output, module: ModuleConfig, applied: Sequence[Mapping[str, Any]], ending: str) -> None:
    output.line(f"{module.name} (schema {module.schema}): {len(applied)} applied, {ending}")
    width = max(len(one["filename"]) for one in applied)
    for one in applied:
        output.line(f"  {one['filename']:<{width}}  {one['execution_time_ms']:>6} ms")
