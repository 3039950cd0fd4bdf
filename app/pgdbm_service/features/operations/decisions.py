"""Operations that need a slot: mark, baseline, repair, revert, resolve and rehearse."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, TypeVar

import msgspec
import structlog

from pgdbm.migrations.sources.names import migration_of

from ...api.operations import (
    BaselineResult,
    ChangedFile,
    Marked,
    RepairResult,
    Resolved,
    RevertedMigration,
    RevertResult,
)
from ...api.rehearsals import (
    FixProof,
    PredictedLock,
    Rehearsal,
    RehearsalFailure,
    RehearsedMigration,
    RehearsedStatement,
    TakenLock,
)
from ...database.failures import service_error_of
from ...errors import ServiceError, did_you_mean, invalid_request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from pgdbm.migrations import AsyncMigrationManager
    from pgdbm.migrations.rehearsal.results import Failure, FileRehearsal, StatementRehearsal
    from pgdbm.migrations.rehearsal.results import TakenLock as LibraryLock

    from ...api.operations import BaselineBody, MarkBody, RepairBody, ResolveBody, RevertBody
    from ...api.rehearsals import RehearseBody
    from ...database.pool import Database
    from ...database.slots import Slots
    from ...registry.file_contents import FileContents
    from ...registry.modules import Module
    from ...runs.start_conditions import StartConditions
    from ...status.module_lookup import ModuleLookup


_MOST_NAMED = 5


async def rehearse(manager: AsyncMigrationManager, body: RehearseBody) -> Rehearsal:
    """The result of the pending migrations in a scratch schema."""
    done = await manager.rehearse(target=body.target, timeout=body.timeout_s, fix=body.fix)
    found = Rehearsal(
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
    if body.fix:
        found.fixes = [msgspec.convert(one, FixProof, from_attributes=True) for one in done.fixes]
    return found


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
        predicted=[
            PredictedLock(
                mode=lock.mode.sql,
                relation=lock.relation,
                verdict="confirmed" if lock.confirmed else "mismatch",
            )
            for lock in one.predicted
        ],
        rewritten=list(one.rewritten),
        wal_bytes=one.wal_bytes,
    )


def _lock(lock: LibraryLock) -> TakenLock:
    return TakenLock(
        mode=lock.mode.sql,
        relation=lock.relation,
        in_other_schema=lock.in_other_schema,
        on_new_object=lock.on_new_object,
        held_ms=round(lock.held_ms, 1),
    )


T = TypeVar("T")

logger = structlog.get_logger("pgdbm_service")


class OperationService:
    """Like a migration, each method waits for a slot and completes even if the client disconnects.

    Raises:
        ServiceError: with the field ``module``.
    """

    def __init__(
        self,
        database: Database,
        slots: Slots,
        lookup: ModuleLookup,
        contents: FileContents,
        start_conditions: StartConditions,
    ) -> None:
        self._database = database
        self._executor = slots
        self._lookup = lookup
        self._contents = contents
        self._start_conditions = start_conditions

    async def mark(self, name: str, body: MarkBody) -> Marked:
        async def work(manager: AsyncMigrationManager) -> Marked:
            # A file that is only in the history can be unmarked.
            if body.applied:
                await _require_file(manager, body.filename)
            await manager.mark(body.filename, applied=body.applied)
            return Marked(module=name, schema=manager.schema, filename=body.filename, applied=body.applied)

        return await self._run("mark", name, body.schema, work, check=self._start_conditions.require_unfrozen)

    async def baseline(self, name: str, body: BaselineBody) -> BaselineResult:
        async def work(manager: AsyncMigrationManager) -> BaselineResult:
            baselined = await manager.baseline(body.version, check=body.check)
            return BaselineResult(
                module=name, schema=manager.schema, version=body.version, checked=body.check, baselined=baselined
            )

        return await self._run("baseline", name, body.schema, work, check=self._start_conditions.require_unfrozen)

    async def rehearse(self, name: str, body: RehearseBody) -> Rehearsal:
        """It changes nothing, but takes as long as a migration, on its own connection."""

        async def work(manager: AsyncMigrationManager) -> Rehearsal:
            return await rehearse(manager, body)

        return await self._run("rehearse", name, body.schema, work, check=None)

    async def repair(self, name: str, body: RepairBody) -> RepairResult:
        """The applied files that were modified. ``accept``: record their current content as applied.

        Raises:
            ServiceError: checksum_changed, if the changed files are not the ones to accept.
        """

        async def work(manager: AsyncMigrationManager) -> RepairResult:
            changed = await manager.repair()
            _require_same(name, body, {one.filename: one.current for one in changed})
            recorded = {one.recorded for one in changed}
            previous = await self._contents.of(name, recorded) if recorded else None
            items = [
                ChangedFile(filename=one.filename, recorded=one.recorded, current=one.current, diff=one.diff)
                for one in await manager.repair(accept=body.accept, previous=previous)
            ]
            return RepairResult(module=name, schema=manager.schema, accepted=body.accept, items=items)

        check = self._start_conditions.require_unfrozen if body.accept else None
        return await self._run("repair", name, body.schema, work, check=check, needs_slot=body.accept)

    async def revert(self, name: str, body: RevertBody) -> RevertResult:
        async def work(manager: AsyncMigrationManager) -> RevertResult:
            reverted = [
                RevertedMigration(one.filename, manager.schema, one.execution_time_ms)
                for one in await manager.revert(body.steps)
            ]
            return RevertResult(module=name, reverted=reverted)

        check = self._start_conditions.require_revertible if body.break_glass is None else None
        return await self._run("revert", name, body.schema, work, check=check)

    async def resolve(self, name: str, body: ResolveBody) -> Resolved:
        async def work(manager: AsyncMigrationManager) -> Resolved:
            await _require_file(manager, migration_of(body.filename))
            await manager.resolve_statement(body.filename, body.statement, done=body.done)
            return Resolved(
                module=name, schema=manager.schema, filename=body.filename, statement=body.statement, done=body.done
            )

        return await self._run("resolve", name, body.schema, work, check=self._start_conditions.require_unfrozen)

    async def _run(
        self,
        operation: str,
        name: str,
        schema: str | None,
        work: Callable[[AsyncMigrationManager], Awaitable[T]],
        *,
        check: Callable[[Module], Awaitable[None]] | None,
        needs_slot: bool = True,
    ) -> T:
        """The result of ``work``, in a slot unless it only reads. ``check`` raises if the module may not be changed."""
        try:
            module = await self._lookup.get(name, latest=True)
            if schema is None and len(module.schemas or ()) > 1:
                raise invalid_request([{"field": "schema", "message": f"{name} has several: choose one"}])
            if check is not None:
                await check(module)
            turn = self._executor.acquire(name) if needs_slot else nullcontext()
            return await self._executor.run(lambda: self._execute(operation, module, schema, turn, work))
        except Exception as error:
            problem = service_error_of(error).with_fields(module=name)
            logger.warning(f"{operation} failed", module=name, **problem.for_log())
            raise problem from error

    async def _execute(
        self,
        operation: str,
        module: Module,
        schema: str | None,
        acquire: AbstractAsyncContextManager[None],
        work: Callable[[AsyncMigrationManager], Awaitable[T]],
    ) -> T:
        # Checked first, so that the call fails early if the database is unavailable: a down migration has no time
        # limit.
        await self._database.check()
        manager = await self._lookup.runner(module, schema)
        async with acquire:
            result = await work(manager)
        logger.info(operation, module=manager.module_name, schema=manager.schema)
        return result


def _require_same(module: str, body: RepairBody, current: dict[str, str]) -> None:
    """Raise if the files or checksums in ``body`` differ from ``current``: the client has not seen those."""
    if not body.accept or body.files in (None, current):
        return
    seen = body.files or {}
    others = sorted(one for one in seen.keys() | current.keys() if seen.get(one) != current.get(one))
    raise ServiceError(
        "checksum_changed",
        f"{', '.join(others[:_MOST_NAMED])}: these are not the changes in the request. None was "
        f"accepted: read them again.",
        module=module,
    )


async def _require_file(manager: AsyncMigrationManager, filename: str) -> None:
    names = [file.filename for file in await manager.find_migration_files()]
    if filename not in names:
        raise ServiceError(
            "migration_unknown",
            f"Module {manager.module_name!r} has no file {filename!r}.",
            filename=filename,
            hint=did_you_mean(filename, names),
        )
