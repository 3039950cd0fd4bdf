"""``pgdbm migrate repair``: what was changed after it was applied, and to take it as it is."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from ..errors import AsyncDBError
from .migrate import migrate
from .options import DATABASE, MODULES, command
from .problems import ModuleFailedError

if TYPE_CHECKING:
    from pathlib import Path

    from ..migrations.results import Repair
    from .config import Module
    from .output import Output
    from .session import Session

_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


@command(migrate, "repair", MODULES, DATABASE)
@click.option("--accept", is_flag=True, help="Take what the files hold now for applied. Runs none of it.")
async def repair(
    session: Session,
    module_names: tuple[str, ...],
    module_options: tuple[str, ...],
    folder: Path | None,
    schema: str | None,
    accept: bool,
) -> None:
    """Show applied files that were changed since: what they held, and what they hold.

    The history keeps checksums only, so what they held comes from the git repository that they are in. With --accept
    they are applied as they are now, which the journal keeps; what the database has is not changed.
    """
    from ..migrations.former import in_git

    modules = session.modules((*module_names, *module_options), folder, schema)
    session.require_folders(modules)
    documents: list[dict[str, Any]] = []
    async with session.pool() as pool:
        for module in modules:
            manager = session.migrations(module, pool)
            try:
                found = await manager.repair(former=in_git(module.path))
                _print(session.output, module, found)
                if accept and found:
                    await manager.repair(accept=True)
                    session.output.line(f"{module.name}: {len(found)} accepted as they are now.")
            except AsyncDBError as error:
                raise ModuleFailedError(module, error, documents) from error
            documents.append(
                {
                    "module": module.name,
                    "schema": module.schema,
                    "accepted": accept,
                    "changed": [asdict(one) for one in found],
                }
            )
    session.output.document({"modules": documents})


def _print(output: Output, module: Module, found: list[Repair]) -> None:
    output.line(f"{module.name} (schema {module.schema}): {len(found) or 'nothing'} changed since it was applied")
    for one in found:
        output.line(f"  {one.filename}")
        if one.diff is None:
            output.line(
                f"    no commit of a git repository around {module.path} has the content that was applied, whose "
                f"checksum is {one.recorded}: look at it elsewhere before you accept this one, {one.current}"
            )
        for line in (one.diff or "").splitlines():
            output.line("    " + click.style(line, fg=_COLOURS.get(line[:1])))
