"""``pgdbm migrate status``, ``plan``, ``history`` and ``verify``, which change nothing."""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, Unpack

import click

from ..errors import AsyncDBError
from .errors import FAILED, PENDING, ModuleFailedError
from .migrate import migrate
from .options import DATABASE, MODULES, command
from .output import utc

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..migrations import AsyncMigrationManager, MigrationStatus, ModuleStatus
    from ..migrations.lint import StatementLock, TableUse
    from .context import CommandContext, ModuleSelection
    from .project import ModuleConfig

_WRONG = {
    "changed": "was modified after it was applied: restore it, and write the change as a new migration",
    "missing": "was applied but its file is missing: restore it",
    "partial": "is partially applied: apply continues with the next statement",
    "unknown": "was running when its runner died: apply determines the outcome, or reports what to check",
    "out_of_order": "is pending and sorts before an applied migration: give it a newer version",
}
# An unknown outcome is not one of them: apply can often determine it.
_REFUSED = {"changed", "out_of_order"}
_SHOWN_SQL = 72
_READ_SQL = 1024


@command(migrate, "status", MODULES, DATABASE)
@click.option("--check", is_flag=True, help="Exit code 3 if migrations are pending, 1 if apply would refuse.")
@click.option("--all", "show_all", is_flag=True, help="List the applied migrations, too.")
async def status(
    context: CommandContext,
    check: bool,
    show_all: bool,
    **selection: Unpack[ModuleSelection],
) -> int:
    """Show the state of each module."""
    from ..migrations.results import MODULE_STATES

    modules = context.selected(selection)
    context.require_folders(modules)
    found = await _statuses(context, modules)
    output = context.output
    rows = [("MODULE", "SCHEMA", "STATE", "APPLIED", "PENDING", "VERSION")]
    rows += [
        (one.module, one.schema, one.state, str(one.applied), str(one.pending), one.version or "") for one in found
    ]
    output.table(rows)
    for one in found:
        listed = [migration for migration in one.migrations if show_all or migration.state != "applied"]
        if listed:
            output.line()
            output.line(f"{one.module} (schema {one.schema}):")
        for migration in listed:
            output.line(f"  {migration.state:<12}  {migration.filename}")
    output.document(
        {
            "state": min((one.state for one in found), key=MODULE_STATES.index),
            "modules": [_module_document(one) for one in found],
        }
    )
    states = {state for one in found for state, count in one.counts.items() if count}
    if not check:
        return 0
    return FAILED if states & _REFUSED else PENDING if any(one.pending for one in found) else 0


@command(migrate, "verify", MODULES, DATABASE)
async def verify(
    context: CommandContext,
    **selection: Unpack[ModuleSelection],
) -> int:
    """Compare the files with the history.

    Exit code 1 if an applied file was modified or is missing, or if a pending one sorts before an applied one,
    regardless of out_of_order.
    """
    modules = context.selected(selection)
    context.require_folders(modules)
    found = await _statuses(context, modules, out_of_order="reject")
    problems = [
        {
            "module": one.module,
            "schema": one.schema,
            "filename": migration.filename,
            "state": migration.state,
            "checksum": None if migration.state == "missing" else migration.checksum,
            "recorded_checksum": migration.recorded_checksum,
            "message": _WRONG[migration.state],
        }
        for one in found
        for migration in one.migrations
        if migration.state in _WRONG
    ]
    for problem in problems:
        context.output.line(
            f"{context.output.verdict('fail')}  {problem['module']}: {problem['filename']} {problem['message']}."
        )
    applied = sum(one.applied for one in found)
    if not problems:
        context.output.line(f"{context.output.verdict('ok')}  {applied} applied migrations match the history.")
    context.output.document({"status": "failed" if problems else "ok", "verified": applied, "problems": problems})
    return FAILED if problems else 0


@command(migrate, "plan", MODULES, DATABASE)
async def plan(
    context: CommandContext,
    **selection: Unpack[ModuleSelection],
) -> None:
    """Show what apply would run: each statement, what it blocks, and its risks."""
    modules = context.selected(selection)
    context.require_folders(modules)
    documents = []
    async with context.pool() as pool:
        for module in modules:
            try:
                documents.append(
                    {
                        "module": module.name,
                        "schema": module.schema,
                        "pending": await _planned(context.migrations(module, pool)),
                    }
                )
            except AsyncDBError as error:
                raise ModuleFailedError(module, error, documents) from error
    for document in documents:
        _print_plan(context, document)
    context.output.document({"modules": documents})


@command(migrate, "history", MODULES, DATABASE)
@click.option(
    "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many to list, newest first."
)
async def history(
    context: CommandContext,
    limit: int,
    **selection: Unpack[ModuleSelection],
) -> None:
    """List the applied migrations, newest first. Times are in UTC."""
    items: list[dict[str, Any]] = []
    modules = context.selected(selection)
    async with context.pool() as pool:
        for module in modules:
            items += [
                {
                    "module": module.name,
                    "schema": module.schema,
                    "filename": row.filename,
                    "checksum": row.checksum,
                    "applied_at": row.applied_at,
                    "applied_by": row.applied_by,
                    "execution_time_ms": row.execution_time_ms,
                }
                for row in await context.migrations(module, pool).history(limit)
            ]
    items = sorted(items, key=lambda item: item["applied_at"], reverse=True)[:limit]
    for item in items:
        item["applied_at"] = utc(item["applied_at"])
    columns = ("applied_at", "module", "schema", "filename", "execution_time_ms", "applied_by")
    heading = ("APPLIED AT", "MODULE", "SCHEMA", "FILE", "MS", "BY")
    context.output.table([heading, *([item[column] for column in columns] for item in items)])
    context.output.document({"items": items})


async def _statuses(context: CommandContext, modules: Sequence[ModuleConfig], **overrides: Any) -> list[ModuleStatus]:
    found: list[ModuleStatus] = []
    async with context.pool() as pool:
        for module in modules:
            try:
                found.append(await context.migrations(module, pool, **overrides).status())
            except AsyncDBError as error:
                raise ModuleFailedError(module, error) from error
    return found


def _module_document(one: ModuleStatus) -> dict[str, Any]:
    return {
        "module": one.module,
        "schema": one.schema,
        "state": one.state,
        "version": one.version,
        "counts": one.counts,
        "migrations": [_migration_document(migration) for migration in one.migrations],
    }


def _migration_document(migration: MigrationStatus) -> dict[str, Any]:
    return {
        "filename": migration.filename,
        "version": migration.version,
        "state": migration.state,
        "transactional": migration.transactional,
        "checksum": migration.checksum,
        "recorded_checksum": migration.recorded_checksum,
        "applied_at": utc(migration.applied_at),
        "applied_by": migration.applied_by,
        "execution_time_ms": migration.execution_time_ms,
    }


async def _planned(manager: AsyncMigrationManager) -> list[dict[str, Any]]:
    planned = await manager.plan()
    return [
        {
            "filename": migration.filename,
            "version": migration.version,
            "transactional": migration.transactional,
            "impact": migration.impact,
            "statements": [
                {
                    "number": statement.number,
                    "kind": statement.kind,
                    "line": statement.line,
                    "column": statement.column,
                    "blocks": statement.blocks,
                    "locks": [_lock_document(lock, planned.tables) for lock in statement.locks],
                    "sql": sql,
                }
                for statement, sql in zip(migration.statements, migration.sql, strict=True)
            ],
            "findings": [
                {
                    "rule": finding.rule,
                    "severity": finding.severity,
                    "message": finding.message,
                    "advice": finding.advice,
                    "statement": finding.statement,
                    "line": finding.line,
                    "column": finding.column,
                    "source": finding.source,
                    "fix": None if finding.fix is None else asdict(finding.fix),
                }
                for finding in migration.findings
            ],
            "fix": None if migration.fix is None else asdict(migration.fix),
        }
        for migration in planned.pending
    ]


def _lock_document(lock: StatementLock, tables: Mapping[str, TableUse]) -> dict[str, Any]:
    from ..migrations.lint import TableUse  # imported lazily: few commands plan

    use = tables.get(lock.relation or "") or TableUse("", None, None)
    return {
        **use._asdict(),
        "mode": lock.mode.sql,
        "relation": lock.relation,
        "statistics_since": utc(use.statistics_since),
    }


def _used_tables(migration: dict[str, Any]) -> dict[str, str]:
    """How heavily the tables are used whose locks make other sessions wait, by table."""
    from ..migrations.lint import use_in_words  # imported lazily: few commands plan

    found = {}
    for statement in migration["statements"]:
        for lock in statement["locks"] if statement["blocks"] != "nothing" else ():
            since = None if lock["statistics_since"] is None else datetime.fromisoformat(lock["statistics_since"])
            words = use_in_words(lock["reads_per_s"], lock["writes_per_s"], since, lock["longest_transaction_s"])
            if words:
                found[lock["relation"]] = words
    return found


def _print_plan(context: CommandContext, document: dict[str, Any]) -> None:
    output = context.output
    heading = f"{document['module']} (schema {document['schema']}): "
    output.line(heading + (f"{len(document['pending'])} pending" if document["pending"] else "up to date"))
    for migration in document["pending"]:
        output.line(f"  {migration['filename']}" + ("" if migration["transactional"] else "  (no transaction)"))
        output.line(f"    {migration['impact'][0].upper()}{migration['impact'][1:]}.")
        for table, words in _used_tables(migration).items():
            output.line(f"    {table}: {words}.")
        for statement in migration["statements"]:
            sql = re.sub(r"\s+", " ", statement["sql"][:_READ_SQL])
            is_short = len(sql) <= _SHOWN_SQL and len(statement["sql"]) <= _READ_SQL
            shown = sql if is_short else sql[: _SHOWN_SQL - 3] + "..."
            blocks = "" if statement["blocks"] == "nothing" else f"  [blocks {statement['blocks']}]"
            output.line(f"    {statement['line']:>4}  {shown}{blocks}")
        for finding in migration["findings"]:
            place = f"{finding['line']}:{finding['column']}"
            output.line(f"    {finding['severity']}  {finding['rule']}  at {place}: {finding['message']}")
            output.line(f"          {finding['advice']}")
            if finding["fix"] is not None and finding["fix"]["note"]:
                output.line(f"          {finding['fix']['note']}")
        if migration["fix"] is not None and migration["fix"]["files"]:
            names = ", ".join(file["filename"] for file in migration["fix"]["files"])
            output.line(f"    fix  `pgdbm migrate fix` writes {names}")
