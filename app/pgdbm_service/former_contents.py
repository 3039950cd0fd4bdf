"""What applied files held before they were changed: as they were registered once, or as the repository has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgdbm.migrations.files import checksum_of
from pgdbm.migrations.former import in_git

from .own_schema import OWN_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from pgdbm.migrations.former import Former

    from .database import Database
    from .registry import Registry

_REGISTERED = """
SELECT DISTINCT ON (checksum) checksum, content FROM {{tables.file_contents}} WHERE checksum = ANY ($1::text[])
"""


class FormerContents:
    def __init__(self, database: Database, registry: Registry) -> None:
        self._database = database
        self._registry = registry

    async def of(self, name: str, checksums: Collection[str]) -> Former:
        """The contents of files of module ``name`` that have these checksums, for a thread to ask for."""
        rows = await self._database.manager(OWN_SCHEMA).fetch_all(_REGISTERED, list(checksums))
        registered = {row["checksum"]: row["content"].removeprefix("\ufeff") for row in rows}
        # Also where a registered module hides it: the files may have come from there.
        module = self._registry.repo.get(name)
        folder = None if module is None else module.folder

        def find(filename: str, checksum: str) -> str | None:
            if checksum in registered or folder is None:
                return registered.get(checksum)
            return _in_folder(folder, filename, checksum) or in_git(folder)(filename, checksum)

        return find


def _in_folder(folder: Path, filename: str, checksum: str) -> str | None:
    try:
        content = (folder / filename).read_text("utf-8")
    except (OSError, UnicodeDecodeError, ValueError):
        return None
    return content if checksum_of(content) == checksum else None
