"""Whether the fixes of pending files build the same schema as the files themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..sources.migration import in_order, read_migration
from ..state.changes import difference
from .results import FixProof

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from ..engine.migration_plan import PlannedMigration
    from ..sources.migration import Migration
    from .results import FileRehearsal, Rehearsal


async def rehearse_fixes(
    run: Callable[..., Awaitable[Rehearsal]],
    migrations: Sequence[Migration],
    pending: Sequence[PlannedMigration],
    target: str | None,
) -> Rehearsal:
    """A rehearsal of ``pending``, and of their fixes in another schema, with the proofs of these.

    ``run`` is :func:`~pgdbm.migrations.rehearsal.run.rehearse` for a module.
    """
    fixed = {one.filename: one.fix.files for one in pending if one.fix is not None and one.fix.files}
    if not fixed:
        return await run(migrations, target=target)
    plain = await run(migrations, target=target, with_catalogs=True)
    kept = [one for one in migrations if one.filename not in fixed]
    made = [read_migration(file.filename, file.sql.encode()) for files in fixed.values() for file in files]
    # The files of a fix have versions that follow the version of the file they replace.
    last = fixed.get(pending[-1].filename)
    fixed_target = last[-1].filename if target is not None and last is not None else target
    in_place = await run(in_order([*kept, *made]), target=fixed_target, with_catalogs=True)
    plain.fixes = proofs(pending, plain, in_place)
    return plain


def proofs(pending: Iterable[PlannedMigration], plain: Rehearsal, fixed: Rehearsal) -> list[FixProof]:
    """The fixes of ``pending``, given the rehearsals of the files as they are and of their fixes."""
    plain_files = {one.filename: one for one in plain.files}
    fixed_files = {one.filename: one for one in fixed.files}
    found: list[FixProof] = []
    for one in pending:
        if one.fix is None or not one.fix.files:
            continue
        names = tuple(file.filename for file in one.fix.files)
        built = plain_files.get(one.filename)
        reason = _incomplete(one.filename, [] if built is None else [built], plain)
        if reason is not None:
            reason = f"There is nothing to compare with: {reason}"
        made = [fixed_files[name] for name in names if name in fixed_files]
        if reason is None:
            reason = _incomplete(names[-1], made, fixed)
        if reason is not None or built is None or built.catalog is None or made[-1].catalog is None:
            found.append(FixProof(one.filename, names, reason=reason or "It was not reached."))
        else:
            found.append(FixProof(one.filename, names, difference(built.catalog, made[-1].catalog)))
    return found


def _incomplete(last: str, files: Sequence[FileRehearsal], rehearsal: Rehearsal) -> str | None:
    """Why ``files``, up to the one named ``last``, did not complete; None if they did."""
    for file in files:
        for one in file.statements:
            if one.skipped is not None:
                return f"{file.filename}, line {one.line} ({one.kind}) was not run: {one.skipped}."
    if files and files[-1].filename == last and files[-1].catalog is not None:
        return None
    failure = rehearsal.failure
    if failure is not None:
        return f"{failure.filename}, line {failure.line}: {failure.message}"
    return rehearsal.stopped or f"{last} was not reached."
