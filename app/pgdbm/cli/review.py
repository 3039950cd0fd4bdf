"""``pgdbm migrate status``, ``plan``, ``history`` and ``verify``: they change nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from ..errors import AsyncDBError
from .migrate import migrate
from .options import DATABASE, MODULES, command
from .output import utc
from .problems import FAILED, PENDING, ModuleFailedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ..migrations import AsyncMigrationManager, MigrationStatus, ModuleStatus
    from .config import Module
    from .session import Session

_WORST_FIRST = (
    "unknown",
    "partial",
    "failed",
    "changed",
    "out_of_order",
    "pending",
    "missing",
    "ahead",
    "up_to_date",
)
_WRONG = {
    "changed": "was changed after it was applied: put it back, and write the change as a new migration",
    "missing": "was applied, and the file is gone: bring it back",
    "partial": "stopped in the middle: apply goes on there, see the history of attempts",
    "unknown": "was under way when its runner died: apply finds out, or says what to look at",
    "out_of_order": "is pending and sorts before one that is applied: give it a newer version",
}
_SHOWN_SQL = 72


@command(migrate, "status", MODULES, DATABASE)
@click.option("--check", is_flag=True, help="Exit code 3 when something is pending, 1 when apply would refuse.")
@click.option("--all", "show_all", is_flag=True, help="List the applied migrations too, not only what is to be done.")
async def status(
    session: Session,
    module_names: tuple[str, ...],
    module_options: tuple[str, ...],
    folder: Path | None,
    schema: str | None,
    check: bool,
    show_all: bool,
) -> int:
    """Say where each module stands."""
    modules = session.modules((*module_names, *module_options), folder, schema)
    session.require_folders(modules)
    found = await _statuses(session, modules)
    output = session.output
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
            "state": min((one.state for one in found), key=_WORST_FIRST.index),
            "modules": [_module_document(one) for one in found],
        }
    )
    states = {state for one in found for state, count in one.counts.items() if count}
    if not check:
        return 0
    return FAILED if states & {"changed", "out_of_order"} else PENDING if any(one.pending for one in found) else 0


@command(migrate, "verify", MODULES, DATABASE)
async def verify(
    session: Session,
    module_names: tuple[str, ...],
    module_options: tuple[str, ...],
    folder: Path | None,
    schema: str | None,
) -> int:
    """Compare the files with the history.

    Exit code 1 when an applied file was changed or is gone, or a pending one sorts before an applied one, whatever
    out_of_order says.
    """
    modules = session.modules((*module_names, *module_options), folder, schema)
    session.require_folders(modules)
    found = await _statuses(session, modules, out_of_order="reject")
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
        session.output.line(
            f"{session.output.verdict('fail')}  {problem['module']}: {problem['filename']} {problem['message']}."
        )
    applied = sum(one.applied for one in found)
    if not problems:
        session.output.line(
            f"{session.output.verdict('ok')}  {applied} applied migrations are as the history has them."
        )
    session.output.document({"status": "failed" if problems else "ok", "verified": applied, "problems": problems})
    return FAILED if problems else 0


@command(migrate, "plan", MODULES, DATABASE)
async def plan(
    session: Session,
    module_names: tuple[str, ...],
    module_options: tuple[str, ...],
    folder: Path | None,
    schema: str | None,
) -> None:
    """Show what apply would run: every statement, whom it blocks, and what is risky about it."""
    modules = session.modules((*module_names, *module_options), folder, schema)
    session.require_folders(modules)
    documents = []
    async with session.pool() as pool:
        for module in modules:
            try:
                documents.append(
                    {
                        "module": module.name,
                        "schema": module.schema,
                        "pending": await _planned(session.migrations(module, pool)),
                    }
                )
            except AsyncDBError as error:
                raise ModuleFailedError(module, error, documents) from error
    for document in documents:
        _print_plan(session, document)
    session.output.document({"modules": documents})


@command(migrate, "history", MODULES, DATABASE)
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many, newest first.")
async def history(
    session: Session,
    module_names: tuple[str, ...],
    module_options: tuple[str, ...],
    folder: Path | None,
    schema: str | None,
    limit: int,
) -> None:
    """List what was applied, newest first. Times are UTC."""
    items: list[dict[str, Any]] = []
    modules = session.modules((*module_names, *module_options), folder, schema)
    async with session.pool() as pool:
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
                for row in await session.migrations(module, pool).history(limit)
            ]
    items = sorted(items, key=lambda item: item["applied_at"], reverse=True)[:limit]
    for item in items:
        item["applied_at"] = utc(item["applied_at"])
    columns = ("applied_at", "module", "schema", "filename", "execution_time_ms", "applied_by")
    heading = ("APPLIED AT", "MODULE", "SCHEMA", "FILE", "MS", "BY")
    session.output.table([heading, *([item[column] for column in columns] for item in items)])
    session.output.document({"items": items})


async def _statuses(session: Session, modules: Sequence[Module], **overrides: Any) -> list[ModuleStatus]:
    found: list[ModuleStatus] = []
    async with session.pool() as pool:
        for module in modules:
            try:
                found.append(await session.migrations(module, pool, **overrides).status())
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
    return [
        {
            "filename": migration.filename,
            "version": migration.version,
            "transactional": migration.transactional,
            "statements": [
                {
                    "number": statement.number,
                    "kind": statement.kind,
                    "line": statement.line,
                    "column": statement.column,
                    "blocks": statement.blocks,
                    "locks": [{"mode": lock.mode.sql, "relation": lock.relation} for lock in statement.locks],
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
                }
                for finding in migration.findings
            ],
        }
        for migration in (await manager.plan()).pending
    ]


def _print_plan(session: Session, document: dict[str, Any]) -> None:
    output = session.output
    heading = f"{document['module']} (schema {document['schema']}): "
    output.line(heading + (f"{len(document['pending'])} pending" if document["pending"] else "up to date"))
    for migration in document["pending"]:
        output.line(f"  {migration['filename']}" + ("" if migration["transactional"] else "  (no transaction)"))
        for statement in migration["statements"]:
            sql = re.sub(r"\s+", " ", statement["sql"])
            shown = sql if len(sql) <= _SHOWN_SQL else sql[: _SHOWN_SQL - 3] + "..."
            blocks = "" if statement["blocks"] == "nothing" else f"  [blocks {statement['blocks']}]"
            output.line(f"    {statement['line']:>4}  {shown}{blocks}")
        for finding in migration["findings"]:
            place = f"{finding['line']}:{finding['column']}"
            output.line(f"    {finding['severity']}  {finding['rule']}  at {place}: {finding['message']}")
            output.line(f"          {finding['advice']}")
