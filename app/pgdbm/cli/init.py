"""``pgdbm init``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .config import FILE_NAME
from .options import command
from .problems import MISUSED, CommandError

if TYPE_CHECKING:
    from .session import Session


def add_init(root: click.Group) -> None:
    """Add ``init`` to ``root``."""

    @command(root, "init")
    @click.option("--force", is_flag=True, help="Write over one that is there.")
    def init(session: Session, force: bool) -> None:
        """Write a commented pgdbm.toml into this folder, or to --config."""
        file = (session.config_file or Path(FILE_NAME)).absolute()
        from importlib.resources import files

        content = (files("pgdbm.cli") / "template.toml").read_text(encoding="utf-8")
        try:
            with file.open("w" if force else "x", encoding="utf-8") as opened:
                opened.write(content)
        except FileExistsError:
            raise CommandError(
                f"{file} exists already.",
                "file_exists",
                exit_code=MISUSED,
                hint="--force writes over it.",
                file=str(file),
            ) from None
        session.output.line(f"Wrote {file}")
        session.output.document({"path": str(file)})
