"""``pgdbm migrate apply`` and ``create``: what changes databases and files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..errors import AsyncDBError, MigrationExecutionError
from .options import DATABASE, MODULE, MODULES, command
from .problems import MISUSED, PENDING, CommandError, ModuleFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import TextIO

    from .config import Module
    from .output import Output
    from .session import Session


@click.group()
def migrate() -> None:
    """Apply migrations, see where they stand, write new ones."""


@command(migrate, "apply", MODULES, DATABASE)
@click.option("--dry-run", is_flag=True, help="Parse what is pending and name it; change nothing.")
@click.option("--check", is_flag=True, help="With --dry-run: exit code 3 when something is pending.")
@click.option(
    "--lock-timeout",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="How long a statement waits for locks of others, instead of the configuration's lock_timeout.",
)
@click.option(
    "--lock-wait-timeout",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="How long to wait for another runner of the same module, instead of the configuration's.",
)
async def apply(
    session: Session,
    module_names: tuple[str, ...],
    module_options: tuple[str, ...],
    folder: Path | None,
    schema: str | None,
    dry_run: bool,
    check: bool,
    lock_timeout: float | None,
    lock_wait_timeout: float | None,
) -> int:
    """Apply what is pending, in all modules or in those that are named.

    Modules come in the order of depends_on. It stops at the first failure; what was applied before it stays applied.
    """
    if check and not dry_run:
        raise CommandError(
            "--check needs --dry-run.", "usage", exit_code=MISUSED, hint="`pgdbm migrate status --check` looks only."
        )
    modules = session.modules((*module_names, *module_options), folder, schema)
    session.require_folders(modules)
    given = {"lock_timeout": lock_timeout, "lock_wait_timeout": lock_wait_timeout}
    options = {name: value for name, value in given.items() if value is not None}
    results = await apply_modules(session, modules, dry_run=dry_run, options=options)
    states = {result["status"] for result in results}
    pending = any(result["pending"] for result in results)
    overall = "dry_run" if dry_run else "success" if "success" in states else "up_to_date"
    session.output.document({"status": overall, "modules": results})
    return PENDING if check and pending else 0


async def apply_modules(
    session: Session, modules: Sequence[Module], *, dry_run: bool = False, options: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Apply each of ``modules`` in turn and print what was done; returns their results for JSON.

    Raises:
        ModuleFailedError: a module failed, or its database could not be reached.
    """
    from .progress import shown_progress

    results: list[dict[str, Any]] = []
    for number, module in enumerate(modules):
        try:
            async with session.pool(module.schema) as pool:
                manager = session.migrations(module, pool, **(options or {}))
                async with shown_progress(session.output, manager):
                    result = await manager.apply_pending_migrations(dry_run=dry_run)
        except AsyncDBError as error:
            if isinstance(error, MigrationExecutionError) and error.applied:
                _print_applied(session.output, module, error.applied, "then it failed")
            raise ModuleFailedError(module, error, results, [left.name for left in modules[number + 1 :]]) from error
        results.append(
            {
                "module": module.name,
                "schema": module.schema,
                "status": result["status"],
                "applied": result["applied"],
                "pending": result.get("pending", []),
                "skipped": len(result["skipped"]),
                "total": result["total"],
                "total_time_ms": round(result.get("total_time_ms", 0.0), 1),
            }
        )
        _print_result(session.output, module, results[-1])
    return results


@command(migrate, "create", MODULE)
@click.argument("name")
@click.option("--no-transaction", is_flag=True, help="For statements that cannot run in one, such as VACUUM.")
@click.option("--from", "source", type=click.File(encoding="utf-8"), metavar="FILE", help="Its SQL; - reads stdin.")
async def create(
    session: Session,
    name: str,
    module_options: tuple[str, ...],
    folder: Path | None,
    schema: str | None,
    no_transaction: bool,
    source: TextIO | None,
) -> None:
    """Write a new migration file, YYYYMMDDHHMMSS_NAME.sql.

    Without --from it is empty, and an empty migration is an error until it is written.
    """
    modules = session.modules(module_options, folder, schema)
    if len(modules) != 1:
        raise CommandError(
            "There are several modules.",
            "usage",
            exit_code=MISUSED,
            hint=f"Choose one with --module: {', '.join(module.name for module in modules)}.",
        )
    manager = session.migrations(modules[0])
    path = await manager.create_migration(name, source.read() if source else "", auto_transaction=not no_transaction)
    session.output.line(f"Created {path}")
    session.output.document({"module": modules[0].name, "path": path})


def _print_result(output: Output, module: Module, result: Mapping[str, Any]) -> None:
    if result["status"] == "success":
        _print_applied(output, module, result["applied"], f"{result['total_time_ms']:.0f} ms in all")
    elif result["status"] == "dry_run" and result["pending"]:
        output.line(f"{module.name} (schema {module.schema}): {len(result['pending'])} pending")
        for filename in result["pending"]:
            output.line(f"  {filename}")
    else:
        output.line(f"{module.name} (schema {module.schema}): up to date, {result['total']} applied before")


def _print_applied(output: Output, module: Module, applied: Sequence[Mapping[str, Any]], ending: str) -> None:
    output.line(f"{module.name} (schema {module.schema}): {len(applied)} applied, {ending}")
    width = max(len(one["filename"]) for one in applied)
    for one in applied:
        output.line(f"  {one['filename']:<{width}}  {one['execution_time_ms']:>6} ms")
