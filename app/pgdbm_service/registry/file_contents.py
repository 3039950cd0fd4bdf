"""The content of applied files before they were changed: from registered bundles or from the repository."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgdbm.migrations.sources.migration import checksum_of
from pgdbm.migrations.sources.previous import from_git

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from pgdbm.migrations.sources.previous import PreviousContents

    from .store import RegistrationStore


class FileContents:
    def __init__(self, registrations: RegistrationStore) -> None:
        self._registrations = registrations

    async def of(self, name: str, checksums: Collection[str]) -> PreviousContents:
        """Finds the contents of files of the module ``name`` that have these checksums; call it in a thread."""
        contents = await self._registrations.contents(checksums)
        registered = {checksum: content.removeprefix("\ufeff") for checksum, content in contents.items()}
        # Even if a registered module hides the folder, because the files may have come from there.
        module = self._registrations.registry.repo.get(name)
        folder = None if module is None else module.folder

        def find(filename: str, checksum: str) -> str | None:
            if checksum in registered or folder is None:
                return registered.get(checksum)
            return _in_folder(folder, filename, checksum) or from_git(folder)(filename, checksum)

        return find


def _in_folder(folder: Path, filename: str, checksum: str) -> str | None:
    try:
        content = (folder / filename).read_text("utf-8")
    except (OSError, UnicodeDecodeError, ValueError):
        return None
    return content if checksum_of(content) == checksum else None
