"""``pgdbm migrate repair``: show and accept files that were modified after they were applied."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

import click

from ..errors import AsyncDBError
from .errors import ModuleFailedError
from .migrate import migrate
from .options import DATABASE, MODULES, command

if TYPE_CHECKING:
    from ..migrations.results import Repair
    from .context import CommandContext, ModuleSelection
    from .output import Output
    from .project import ModuleConfig

_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


@command(migrate, "repair", MODULES, DATABASE)
@click.option("--accept", is_flag=True, help="Record the current content as applied. Runs no SQL.")
async def repair(
    context: CommandContext,
    accept: bool,
    **selection: Unpack[ModuleSelection],
) -> None:
    """Show the applied files that were modified afterwards, as a diff.

    The history stores checksums only; the previous content is taken from the git repository of the files. With --accept
    the current checksums are recorded, and the journal notes it. Nothing else in the database is changed.
    """
    from ..migrations.sources.previous import from_git

    modules = context.selected(selection)
    context.require_folders(modules)
    documents: list[dict[str, Any]] = []
    async with context.pool() as pool:
        for module in modules:
            manager = context.migrations(module, pool)
            try:
                found = await manager.repair(previous=from_git(module.path))
                _print(context.output, module, found)
                if accept and found:
                    await manager.repair(accept=True)
                    context.output.line(f"{module.name}: {len(found)} accepted.")
            except AsyncDBError as error:
                raise ModuleFailedError(module, error, documents) from error
            documents.append(
                {
                    "module": module.name,
                    "schema": module.schema,
                    "accepted": accept,
                    "changed": [one._asdict() for one in found],
                }
            )
    context.output.document({"modules": documents})


def _print(output: Output, module: ModuleConfig, found: list[Repair]) -> None:
    output.line(f"{module.name} (schema {module.schema}): {len(found) or 'nothing'} modified since applied")
    for one in found:
        output.line(f"  {one.filename}")
        if one.diff is None:
            output.line(
                f"    The applied content (checksum {one.recorded}) is in no commit of the git repository of "
                f"{module.path}. Compare it with the current one ({one.current}) by other means before you accept that."
            )
        for line in (one.diff or "").splitlines():
            output.line("    " + click.style(line, fg=_COLOURS.get(line[:1])))
