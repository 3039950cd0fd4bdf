"""A folder of migrations becomes the tar.gz that is registered."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS_FILE = "module.toml"


def archive_of(folder: Path) -> bytes:
    """The ``.sql`` files in ``folder`` and its ``module.toml``, as a tar.gz.

    Raises:
        OSError: there is no such folder, or a file in it cannot be read.
        ValueError: there is no migration in it.
    """
    names = sorted(entry.name for entry in folder.iterdir() if _belongs(entry))
    if not any(name.endswith(".sql") for name in names):
        raise ValueError(f"there is no migration in {folder}: their names end with .sql")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name in names:
            content = (folder / name).read_bytes()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def _belongs(entry: Path) -> bool:
    return entry.is_file() and (
        entry.name == SETTINGS_FILE or (entry.name.endswith(".sql") and not entry.name.startswith("."))
    )
