"""Files that are applied somewhere must not change: what is registered is compared with the histories."""

from __future__ import annotations

import asyncio
import difflib
from typing import TYPE_CHECKING

from pgdbm.migrations.files import checksum_of, is_repeatable_name

from ..errors import Problem
from ..own_schema import OWN_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..bundles import Bundle
    from ..database import Database
    from ..history_shapes import Shape
    from ..registry import Registry
    from ..summaries import Summaries

_FORMER_CONTENT = "SELECT content FROM {{tables.file_contents}} WHERE checksum = $1 LIMIT 1"


class AppliedFiles:
    """Knows from the histories which files of a module are applied, in whichever schema."""

    def __init__(self, database: Database, registry: Registry, summaries: Summaries) -> None:
        self._database = database
        self._registry = registry
        self._summaries = summaries

    async def check(self, name: str, bundle: Bundle) -> None:
        """Compare ``bundle`` with what of module ``name`` is applied.

        Raises:
            Problem: checksum_changed, with what has changed as a diff where the former content is known.
        """
        checksums = {
            filename: checksum_of(content)
            for filename, content in bundle.files.items()
            if not is_repeatable_name(filename)
        }
        found = await self._summaries.shapes_of(name)
        if not any(_changes(shape, checksums) for shape in found):
            return
        # Somebody may have put it right since the summaries were made.
        await self._summaries.look_again(name, [shape for shape in found if _changes(shape, checksums)])
        places = {
            filename: (checksum, schema)
            for shape, schema in (await self._summaries.shapes_of(name)).items()
            for filename, checksum in _changes(shape, checksums).items()
        }
        if not places:
            return
        filename = min(places)
        checksum, schema = places[filename]
        more = f" {len(places) - 1} more files have changed, too." if len(places) > 1 else ""
        raise Problem(
            "checksum_changed",
            f"{filename} is applied in schema {schema} with another content than this.{more} Nothing was registered.",
            module=name,
            filename=filename,
            schema=schema,
            recorded_checksum=checksum,
            current_checksum=checksums[filename],
            diff=await self._diff(name, filename, checksum, bundle.files[filename]),
            changed=sorted(places),
        )

    async def _diff(self, name: str, filename: str, checksum: str, content: str) -> str | None:
        former = await self._database.manager(OWN_SCHEMA).fetch_value(_FORMER_CONTENT, checksum)
        if former is None:
            former = await asyncio.to_thread(self._in_folder, name, filename, checksum)
        if former is None:
            return None
        lines = difflib.unified_diff(
            former.splitlines(), content.splitlines(), f"{filename} (applied)", f"{filename} (sent)", lineterm=""
        )
        return "\n".join(lines)

    def _in_folder(self, name: str, filename: str, checksum: str) -> str | None:
        """The content of the file in a folder of the repository that the registered module hides."""
        module = self._registry.repo.get(name)
        try:
            content = (module.folder / filename).read_text("utf-8") if module and module.folder else None
        except (OSError, UnicodeDecodeError):
            return None
        return content if content is not None and checksum_of(content) == checksum else None


def _changes(shape: Shape, checksums: Mapping[str, str]) -> dict[str, str]:
    """The recorded checksum of each file that has another one now."""
    return {filename: recorded for filename, recorded in shape.applied if checksums.get(filename, recorded) != recorded}
