"""``pgdbm migrate drift``, ``journal``, ``mark``, ``baseline``, ``rehearse``, ``revert``, ``resolve``, ``backfill``."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Unpack

import click

from ..text import object_in_words
from .errors import FAILED, MISUSED, CommandError
from .migrate import migrate
from .options import DATABASE, MODULE, command, seconds_option
from .output import backfill_progress, backfill_state, rehearsal_failure, utc
from .questions import confirm

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..migrations import AsyncMigrationManager
    from ..migrations.rehearsal.results import Rehearsal, StatementRehearsal
    from .context import CommandContext, Selection


@command(migrate, "drift", MODULE, DATABASE)
async def drift(context: CommandContext, **selection: Unpack[Selection]) -> int:
    """Show changes in the schema that no migration made. Exit code 1 if there is drift."""
    async with _manager(context, selection) as manager:
        found = await manager.drift()
    context.output.line("no drift" if found.clean else f"{len(found.changes)} changes")
    if found.reason:
        context.output.line(f"  {found.reason}")
    for change in found.changes:
        context.output.line(f"  {change.kind:<8}  {object_in_words(change.object_kind, change.name)}")
    context.output.document(asdict(found))
    return FAILED if found.changes else 0


@command(migrate, "journal", MODULE, DATABASE)
@click.option(
    "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="The maximum number of entries."
)
async def journal(context: CommandContext, limit: int, **selection: Unpack[Selection]) -> None:
    """List attempts, failures and decisions, newest first."""
    async with _manager(context, selection) as manager:
        found = await manager.journal(limit)
    rows = [(utc(one.started_at), one.event, one.filename, one.statement, one.started_by, one.message) for one in found]
    context.output.table([("STARTED", "EVENT", "FILE", "STATEMENT", "BY", "MESSAGE"), *rows])
    context.output.document({"items": [asdict(one) for one in found]})


@command(migrate, "mark", MODULE, DATABASE)
@click.argument("filename")
@click.option("--applied/--not-applied", default=True, show_default=True, help="What to record in the history.")
async def mark(context: CommandContext, filename: str, applied: bool, **selection: Unpack[Selection]) -> None:
    """Record a migration as applied, or as not applied, without running it."""
    async with _manager(context, selection) as manager:
        await manager.mark(filename, applied=applied)
        schema = manager.schema
    context.output.line(f"{filename} counts as {'applied' if applied else 'not applied'} in {schema}")
    context.output.document({"filename": filename, "schema": schema, "applied": applied})


@command(migrate, "baseline", MODULE, DATABASE)
@click.argument("version")
@click.option("--check/--no-check", default=True, show_default=True, help="Compare with a build in a scratch schema.")
async def baseline(context: CommandContext, version: str, check: bool, **selection: Unpack[Selection]) -> None:
    """Treat the migrations up to a version, or file name, as applied."""
    async with _manager(context, selection) as manager:
        found = await manager.baseline(version, check=check)
        schema = manager.schema
    context.output.line(f"{len(found)} migrations count as applied in {schema}")
    context.output.document({"schema": schema, "version": version, "checked": check, "baselined": list(found)})


@command(migrate, "rehearse", MODULE, DATABASE)
@click.option("--target", metavar="VERSION", help="The last version, or file name.")
@seconds_option("--timeout", "How long it may take.", default=300.0, positive=True)
async def rehearse(context: CommandContext, target: str | None, timeout: float, **selection: Unpack[Selection]) -> int:
    """Run the pending migrations in a scratch schema that is dropped afterwards. Exit code 1 if they fail."""
    async with _manager(context, selection) as manager:
        found = await manager.rehearse(target=target, timeout=timeout)
        schema = manager.schema
    output = context.output
    output.line(f"The rehearsal {'succeeded' if found.succeeded else 'failed'}.")
    for one in found.files:
        output.line(f"  {one.filename}  {one.milliseconds:.0f} ms")
        for statement in one.statements:
            locks = ", ".join(f"{lock.mode.sql} on {lock.relation or '?'}" for lock in statement.locks or ())
            output.line(f"    {statement.number}. {statement.kind}{f': {locks}' if locks else ''}")
    if found.failure is not None:
        for line in rehearsal_failure(found.failure):
            output.line(f"  {line}")
    if found.stopped is not None:
        output.line(f"  {found.stopped}")
    output.document({"schema": schema, **_rehearsal_document(found)})
    return 0 if found.succeeded else FAILED


@command(migrate, "revert", MODULE, DATABASE)
@click.option("--steps", type=click.IntRange(1, 1000), default=1, show_default=True, help="How many migrations.")
@click.option("--yes", is_flag=True, help="Do not ask.")
async def revert(context: CommandContext, steps: int, yes: bool, **selection: Unpack[Selection]) -> None:
    """Run the down migrations of the newest applied files."""
    if not yes:
        confirm(f"Revert the newest {steps}?")
    async with _manager(context, selection) as manager:
        found = await manager.revert(steps)
    for one in found:
        context.output.line(f"  {one.filename}  {one.execution_time_ms} ms")
    reverted = [{"filename": one.filename, "execution_time_ms": one.execution_time_ms} for one in found]
    context.output.document({"reverted": reverted})


@command(migrate, "resolve", MODULE, DATABASE)
@click.argument("filename")
@click.argument("statement", type=click.IntRange(min=1))
@click.option("--done/--not-done", required=True, default=None, help="Whether the statement took effect.")
async def resolve(
    context: CommandContext, filename: str, statement: int, done: bool, **selection: Unpack[Selection]
) -> None:
    """Record whether a statement with an unknown outcome took effect."""
    async with _manager(context, selection) as manager:
        await manager.resolve_statement(filename, statement, done=done)
    context.output.line(f"{filename}, statement {statement}: {'done' if done else 'not done'}")
    context.output.document({"filename": filename, "statement": statement, "done": done})


@command(migrate, "backfill", MODULE, DATABASE)
@click.argument("filename", required=False)
@click.option("--pause/--resume", "pause", default=None, help="Pause it after its current batch, or let it continue.")
@click.option("--rate", type=click.IntRange(min=0), metavar="ROWS", help="Maximum rows per second; 0: no limit.")
async def backfill(
    context: CommandContext, filename: str | None, pause: bool | None, rate: int | None, **selection: Unpack[Selection]
) -> None:
    """Show the progress of backfills; pause, resume or limit one, even while another process runs it."""
    if filename is None and (pause is not None or rate is not None):
        raise CommandError("Name the backfill's file.", "usage", exit_code=MISUSED)
    async with _manager(context, selection) as manager:
        if filename is not None:
            if rate is not None:
                filename = await manager.backfills.limit(filename, rate)
            if pause is not None:
                change = manager.backfills.pause if pause else manager.backfills.resume
                filename = await change(filename)
        found = [
            one
            for one in await manager.backfills.states()
            if filename is None or filename.removesuffix(".sql") == one.filename.removesuffix(".sql")
        ]
    rows = [(one.filename, backfill_state(one), backfill_progress(one), one.waiting_for) for one in found]
    context.output.table([("FILE", "STATE", "PROGRESS", "WAITS"), *rows])
    context.output.document({"items": [asdict(one) for one in found]})


def _rehearsal_document(found: Rehearsal) -> dict[str, Any]:
    """With the names that the service uses."""
    migrations = [
        {
            "filename": one.filename,
            "transactional": one.transactional,
            "execution_time_ms": round(one.milliseconds, 1),
            "statements": [_statement_document(statement) for statement in one.statements],
            "note": one.note,
        }
        for one in found.files
    ]
    names = ("succeeded", "replayed", "missing", "not_reached", "stopped", "kept_open_since", "left_behind")
    return {name: getattr(found, name) for name in names} | {
        "migrations": migrations,
        "failure": None if found.failure is None else asdict(found.failure),
        "total_time_ms": round(found.milliseconds, 1),
    }


def _statement_document(statement: StatementRehearsal) -> dict[str, Any]:
    locks = statement.locks
    return {
        "number": statement.number,
        "kind": statement.kind,
        "line": statement.line,
        "column": statement.column,
        "execution_time_ms": round(statement.milliseconds, 1),
        "locks": None
        if locks is None
        else [
            {
                "relation": lock.relation,
                "mode": lock.mode.sql,
                "in_other_schema": lock.in_other_schema,
                "on_new_object": lock.on_new_object,
            }
            for lock in locks
        ],
        "skipped": statement.skipped,
    }


@asynccontextmanager
async def _manager(context: CommandContext, selection: Selection) -> AsyncIterator[AsyncMigrationManager]:
    """A manager of the selected module, of which there must be one.

    Raises:
        CommandError: there are several.
    """
    module = context.module(selection["module_options"], selection["folder"], selection["schema"])
    context.require_folders([module])
    async with context.pool(module.schema) as pool:
        yield context.migrations(module, pool)
