"""``pgdbm init``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .errors import MISUSED, CommandError
from .options import command
from .project import FILE_NAME

if TYPE_CHECKING:
    from .context import CommandContext


@command(None, "init")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def init(context: CommandContext, force: bool) -> None:
    """Write a commented pgdbm.toml into this folder, or to --config."""
    from importlib.resources import files  # imported lazily: other commands have no use for it

    file = (context.config_file or Path(FILE_NAME)).absolute()
    content = (files("pgdbm.cli") / "template.toml").read_text(encoding="utf-8")
    try:
        with file.open("w" if force else "x", encoding="utf-8") as opened:
            opened.write(content)
    except FileExistsError:
        raise CommandError(
            f"{file} already exists.",
            "file_exists",
            exit_code=MISUSED,
            hint="--force overwrites it.",
            file=str(file),
        ) from None
    context.output.line(f"Wrote {file}")
    context.output.document({"path": str(file)})
