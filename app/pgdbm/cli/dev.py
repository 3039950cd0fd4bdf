"""``pgdbm dev watch``: apply migrations while they are being written, to a local database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click

from ..dsn import parse_dsn
from .errors import MISUSED, CommandError, ModuleFailedError
from .migrate import apply_modules
from .options import DATABASE, MODULES, command, seconds_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .context import CommandContext, ModuleSelection
    from .project import ModuleConfig

_Seen = dict[Path, tuple[int, int]]


@click.group()
def dev() -> None:
    """For development."""


@command(dev, "watch", MODULES, DATABASE)
@seconds_option("--interval", "How often the folders are read, in seconds.", default=0.5, at_least=0.05)
@click.option("--force", is_flag=True, help="Allow a database that is not on this machine.")
async def watch(
    context: CommandContext,
    interval: float,
    force: bool,
    **selection: Unpack[ModuleSelection],
) -> None:
    """Apply pending migrations now and whenever a file is added or changed, until interrupted.

    An empty file is ignored until it has content. With --json, each run prints one document on one line.
    """
    import asyncio

    modules = context.selected(selection)
    context.require_folders(modules)
    if not force and not parse_dsn(context.url).is_local:
        raise CommandError(
            "The database is not on this machine.",
            "refused",
            exit_code=MISUSED,
            hint="dev watch applies files that may be incomplete. To use another machine's database, add --force.",
        )
    for module in modules:
        context.output.note(f"Watching {module.path} for {module.name} (schema {module.schema}).")
    done: _Seen | None = None
    before: _Seen = {}
    while True:
        seen = await asyncio.to_thread(_read_stats, modules)
        # Only when nothing has changed since the previous read: an editor may be writing.
        if seen != done and seen == before:
            done = seen
            await _apply(context, modules)
        before = seen
        await asyncio.sleep(interval)


async def _apply(context: CommandContext, modules: Sequence[ModuleConfig]) -> None:
    unwritten = [path for module in modules for path in _files(module) if _is_empty(path)]
    for path in unwritten:
        context.output.note(f"{path.name} is empty; waiting for its content.")
    if unwritten:
        return
    try:
        results = await apply_modules(context, modules)
    except ModuleFailedError as error:
        context.output.error(error, one_line=True)
    else:
        context.output.document({"modules": results}, one_line=True)


def _is_empty(path: Path) -> bool:
    try:
        return not path.read_text("utf-8", "replace").strip()
    except FileNotFoundError:
        # It was deleted after the folder was listed.
        return False


def _read_stats(modules: Sequence[ModuleConfig]) -> _Seen:
    seen: _Seen = {}
    for module in modules:
        for path in _files(module):
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue
            seen[path] = (stat.st_mtime_ns, stat.st_size)
    return seen


def _files(module: ModuleConfig) -> list[Path]:
    return sorted(module.path.glob("*.sql")) if module.path.is_dir() else []
