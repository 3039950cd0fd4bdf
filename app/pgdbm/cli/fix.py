"""``pgdbm migrate fix``: write pending migrations in their safer form."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Unpack

import click

from ..errors import AsyncDBError
from ..text import object_in_words
from .errors import FAILED, ModuleFailedError
from .migrate import migrate
from .options import DATABASE, MODULES, command

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ..migrations import AsyncMigrationManager
    from ..migrations.engine.migration_plan import PlannedMigration
    from ..migrations.lint import FixFile
    from ..migrations.rehearsal.results import FixProof
    from .context import CommandContext, ModuleSelection
    from .output import Output


@command(migrate, "fix", MODULES, DATABASE)
@click.option("--dry-run", is_flag=True, help="Show the files without writing them.")
@click.option("--no-check", is_flag=True, help="Write them without comparing the schemas that both forms build.")
async def fix(
    context: CommandContext,
    dry_run: bool,
    no_check: bool,
    **selection: Unpack[ModuleSelection],
) -> int:
    """Write pending migrations in a form that does the same without the long lock.

    Both forms are applied in scratch schemas first, and a fix is written only if both build the same schema. The first
    file of a fix has the name of the original and replaces it; the others follow it. Applied migrations are never
    changed. Exit code 1 if a fix could not be proved equivalent.
    """
    modules = context.selected(selection)
    context.require_folders(modules)
    documents: list[dict[str, Any]] = []
    async with context.pool() as pool:
        for module in modules:
            manager = context.migrations(module, pool)
            try:
                items = await _fixed(manager, module.path, check=not no_check, write=not dry_run)
            except AsyncDBError as error:
                raise ModuleFailedError(module, error, documents) from error
            documents.append({"module": module.name, "schema": module.schema, "fixes": items})
            _print(context.output, documents[-1], shown=dry_run)
    context.output.document({"modules": documents})
    return FAILED if any(one["proved"] is False for document in documents for one in document["fixes"]) else 0


async def _fixed(manager: AsyncMigrationManager, folder: Path, *, check: bool, write: bool) -> list[dict[str, Any]]:
    planned = [one for one in (await manager.plan()).pending if one.fix is not None and one.fix.files]
    proofs = {}
    if check and planned:
        proofs = {one.filename: one for one in (await manager.rehearse(fix=True)).fixes}
    # Files may have been applied during the rehearsal.
    pending = {one.filename for one in await manager.get_pending_migrations()}
    items = []
    for one in planned:
        proof = proofs.get(one.filename)
        writes = write and one.filename in pending and (not check or (proof is not None and proof.proved))
        if writes and one.fix is not None:
            write_files(folder, one.fix.files)
        items.append(_document(one, proof, written=writes))
    return items


def write_files(folder: Path, files: Sequence[FixFile]) -> None:
    """Write ``files`` into ``folder``. The first file replaces the original; the others must not exist yet.

    Raises:
        FileExistsError: one of the others exists; the original is unchanged.
    """
    first, *others = files
    for one in others:
        with (folder / one.filename).open("x", encoding="utf-8") as file:
            file.write(one.sql)
    # Last, so that the original is unchanged if another file cannot be written.
    temporary = folder / f".{first.filename}.new"
    temporary.write_text(first.sql, encoding="utf-8")
    temporary.replace(folder / first.filename)


def _document(planned: PlannedMigration, proof: FixProof | None, *, written: bool) -> dict[str, Any]:
    assert planned.fix is not None
    return {
        "filename": planned.filename,
        "files": [asdict(one) for one in planned.fix.files],
        "note": planned.fix.note,
        "proved": None if proof is None else proof.proved,
        "differences": [] if proof is None else [asdict(one) for one in proof.differences],
        "reason": None if proof is None else proof.reason,
        "written": written,
    }


def _print(output: Output, document: dict[str, Any], *, shown: bool) -> None:
    fixes = document["fixes"]
    output.line(f"{document['module']} (schema {document['schema']}): {len(fixes) or 'nothing'} to fix")
    for one in fixes:
        outcome = "written" if one["written"] else "not written"
        proof = {True: "proved", False: "not proved", None: "not compared"}[one["proved"]]
        output.line(f"  {one['filename']}: {proof}, {outcome}")
        if one["reason"] is not None:
            output.line(f"    {one['reason']}")
        for change in one["differences"]:
            output.line(f"    {change['kind']:<8}  {object_in_words(change['object_kind'], change['name'])}")
        if one["note"] is not None:
            output.line(f"    {one['note']}")
        for file in one["files"]:
            output.line(f"    {file['filename']}")
            if shown:
                for line in file["sql"].splitlines():
                    output.line(f"      {line}".rstrip())
