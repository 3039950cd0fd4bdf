"""Files that are applied somewhere must not change: what is registered is compared with the histories."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pgdbm.migrations.files import checksum_of, is_repeatable_name
from pgdbm.migrations.former import diff_to

from ..errors import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..bundles import Bundle
    from ..former_contents import FormerContents
    from ..history_shapes import Shape
    from ..summaries import Summaries


class AppliedFiles:
    """Knows from the histories which files of a module are applied, in whichever schema."""

    def __init__(self, summaries: Summaries, former: FormerContents) -> None:
        self._summaries = summaries
        self._former = former

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
        former = await self._former.of(name, [checksum])
        now, content = checksums[filename], bundle.files[filename]
        more = f" {len(places) - 1} more files have changed, too." if len(places) > 1 else ""
        raise Problem(
            "checksum_changed",
            f"{filename} is applied in schema {schema} with another content than this.{more} Nothing was registered.",
            module=name,
            filename=filename,
            schema=schema,
            recorded_checksum=checksum,
            current_checksum=now,
            diff=await asyncio.to_thread(diff_to, filename, checksum, now, content, former),
            changed=sorted(places),
        )


def _changes(shape: Shape, checksums: Mapping[str, str]) -> dict[str, str]:
    """The recorded checksum of each file that has another one now."""
    return {filename: recorded for filename, recorded in shape.applied if checksums.get(filename, recorded) != recorded}
