"""``pgdbm dev watch``: apply migrations as they are written, on a database of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import database_url
from .options import DATABASE, MODULES, command
from .problems import MISUSED, CommandError, ModuleFailedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .config import Module
    from .session import Session

_Seen = dict[Path, tuple[int, int]]


@click.group()
def dev() -> None:
    """For development."""


@command(dev, "watch", MODULES, DATABASE)
@click.option(
    "--interval",
    type=click.FloatRange(min=0.05),
    default=0.5,
    show_default=True,
    metavar="SECONDS",
    help="How often to look.",
)
@click.option("--force", is_flag=True, help="Also on a database that is not on this machine.")
async def watch(
    session: Session,
    module_names: tuple[str, ...],
    module_options: tuple[str, ...],
    folder: Path | None,
    schema: str | None,
    interval: float,
    force: bool,
) -> None:
    """Apply what is pending, and again whenever a file appears or changes, until Ctrl-C.

    A file without SQL is left until it has some. With --json, one document a line for each time.
    """
    import asyncio

    modules = session.modules((*module_names, *module_options), folder, schema)
    session.require_folders(modules)
    if not force and not database_url.is_loopback(session.url):
        raise CommandError(
            "The database is not on this machine.",
            "refused",
            exit_code=MISUSED,
            hint="dev watch applies what is half written; give --force if that is meant.",
        )
    for module in modules:
        session.output.note(f"Watching {module.path} for {module.name} (schema {module.schema}).")
    done: _Seen | None = None
    before: _Seen = {}
    while True:
        seen = await asyncio.to_thread(_look, modules)
        # Only what has kept still since the last look: an editor may be half way through.
        if seen != done and seen == before:
            done = seen
            await _apply(session, modules)
        before = seen
        await asyncio.sleep(interval)


async def _apply(session: Session, modules: Sequence[Module]) -> None:
    from .migrate import apply_modules

    unwritten = [
        path for module in modules for path in _files(module) if not path.read_text("utf-8", "replace").strip()
    ]
    for path in unwritten:
        session.output.note(f"{path.name} is empty: waiting for its SQL.")
    if unwritten:
        return
    try:
        results = await apply_modules(session, modules)
    except ModuleFailedError as error:
        session.output.error(error, one_line=True)
    else:
        session.output.document({"modules": results}, one_line=True)


def _look(modules: Sequence[Module]) -> _Seen:
    seen: _Seen = {}
    for module in modules:
        for path in _files(module):
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue
            seen[path] = (stat.st_mtime_ns, stat.st_size)
    return seen


def _files(module: Module) -> list[Path]:
    return sorted(module.path.glob("*.sql")) if module.path.is_dir() else []
