"""A rehearsal of the library's, as the service answers with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from .structs import Rehearsal, RehearsalFailure, RehearsedMigration, RehearsedStatement, TakenLock

if TYPE_CHECKING:
    from pgdbm.migrations import AsyncMigrationManager
    from pgdbm.migrations.rehearsal import Failure, FileRehearsal, StatementRehearsal
    from pgdbm.migrations.rehearsal import TakenLock as LibraryLock


async def rehearse(manager: AsyncMigrationManager, target: str | None, timeout_s: float) -> Rehearsal:
    """What is pending, run in a scratch schema; ``timeout_s`` bounds it."""
    done = await manager.rehearse(target=target, timeout=timeout_s)
    return Rehearsal(
        module=manager.module_name,
        schema=manager.schema,
        succeeded=done.succeeded,
        replayed=done.replayed,
        missing=list(done.missing),
        migrations=[_migration(file) for file in done.files],
        not_reached=list(done.not_reached),
        failure=_failure(done.failure),
        stopped=done.stopped,
        kept_open_since=done.kept_open_since,
        left_behind=done.left_behind,
        total_time_ms=round(done.milliseconds, 1),
    )


def _failure(failure: Failure | None) -> RehearsalFailure | None:
    return None if failure is None else msgspec.convert(failure, RehearsalFailure, from_attributes=True)


def _migration(file: FileRehearsal) -> RehearsedMigration:
    return RehearsedMigration(
        filename=file.filename,
        transactional=file.transactional,
        execution_time_ms=round(file.milliseconds, 1),
        note=file.note,
        statements=[_statement(one) for one in file.statements],
    )


def _statement(one: StatementRehearsal) -> RehearsedStatement:
    return RehearsedStatement(
        number=one.number,
        kind=one.kind,
        line=one.line,
        column=one.column,
        execution_time_ms=round(one.milliseconds, 1),
        locks=None if one.locks is None else [_lock(lock) for lock in one.locks],
        skipped=one.skipped,
    )


def _lock(lock: LibraryLock) -> TakenLock:
    return TakenLock(mode=lock.mode.sql, relation=lock.relation, outside=lock.outside, new=lock.is_new)
