"""The registered modules as they stand in the service's own tables, and the registry kept up with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from .bundles import Bundle
from .errors import Problem
from .module_settings import CheckedSettings
from .own_schema import OWN_SCHEMA
from .registry import Module
from .shared_look import SharedLook

if TYPE_CHECKING:
    from collections.abc import Collection

    from pgdbm.core.queries import Queries

    from .database import Database
    from .registry import Registry

_VERSION = "SELECT version FROM {{tables.registry_version}}"
_MODULES = "SELECT name, digest FROM {{tables.modules}} ORDER BY name"
_SETTINGS = "SELECT digest, settings FROM {{tables.bundles}} WHERE digest = ANY ($1::text[])"
_FILES = """
SELECT f.digest, f.filename, c.content
FROM {{tables.bundle_files}} f JOIN {{tables.file_contents}} c USING (hash)
WHERE f.digest = ANY ($1::text[])
"""


class RegisteredModules:
    """Brings what is registered, through whichever replica, into ``registry``."""

    def __init__(self, database: Database, registry: Registry) -> None:
        self._database = database
        self._registry = registry
        self._version = -1
        self._look = SharedLook(lambda: database.within_limit(self._read()))

    async def catch_up(self) -> None:
        """Make the registry what the tables say now: one small query where nothing has changed.

        Raises what the database raises, and a Problem if it takes too long; the registry stays as it was then.
        """
        await self._look()

    async def _read(self) -> None:
        db = self._database.manager(OWN_SCHEMA)
        version = await db.fetch_value(_VERSION)
        # What changes while it is read has a higher version, and is read again then.
        if version != self._version:
            self._registry.replace_registered(await read_modules(db, self._registry))
            self._version = version

    async def stored(self, name: str, digest: str) -> Module:
        """``name`` in a bundle that was registered once, whether it still has that or not.

        Raises:
            Problem: bundle_unknown.
        """
        db = self._database.manager(OWN_SCHEMA)
        found = await read_bundles(db, [digest])
        if digest not in found:
            raise Problem(
                "bundle_unknown", f"There is no bundle {digest} of module {name}.", module=name, bundle=digest
            )
        bundle = found[digest]
        return Module(name=name, bundle=bundle, settings=bundle.settings, source="registered")


async def read_modules(db: Queries, known: Registry) -> list[Module]:
    """Every registered module; bundles that ``known`` has are not read again."""
    digests = {row["name"]: row["digest"] for row in await db.fetch_all(_MODULES)}
    bundles = {module.bundle.digest: module.bundle for module in known.registered.values() if module.bundle}
    bundles |= await read_bundles(db, set(digests.values()) - bundles.keys())
    return [
        Module(name=name, bundle=bundles[digest], settings=bundles[digest].settings, source="registered")
        for name, digest in digests.items()
    ]


async def read_bundles(db: Queries, digests: Collection[str]) -> dict[str, Bundle]:
    """The bundles by digest, of those that there are."""
    if not digests:
        return {}
    wanted = list(digests)
    files: dict[str, dict[str, str]] = {digest: {} for digest in wanted}
    for row in await db.fetch_all(_FILES, wanted):
        files[row["digest"]][row["filename"]] = row["content"]
    return {
        row["digest"]: Bundle(
            digest=row["digest"],
            settings=msgspec.json.decode(row["settings"], type=CheckedSettings),
            files=files[row["digest"]],
        )
        for row in await db.fetch_all(_SETTINGS, wanted)
    }
