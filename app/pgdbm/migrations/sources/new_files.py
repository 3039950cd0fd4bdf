"""Writes new migration files."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ...errors import MigrationError

if TYPE_CHECKING:
    from pathlib import Path


def write_migration(folder: Path, name: str, content: str) -> Path:
    """Write ``YYYYMMDDHHMMSS_name.sql`` with ``content`` into ``folder``, which is created if it is missing.

    Raises:
        MigrationError: ``name`` has no letter or digit, or the file exists.
    """
    stem = "_".join(part for part in "".join(c if c.isalnum() else " " for c in name.lower()).split())
    if not stem:
        raise MigrationError(f"{name!r} has no letter or digit to form a file name.")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{datetime.now(UTC):%Y%m%d%H%M%S}_{stem}.sql"
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(content)
    except FileExistsError as error:
        raise MigrationError(f"{path} already exists.", path.name) from error
    return path
