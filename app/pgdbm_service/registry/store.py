"""What is registered, in the service's own tables, and the registry that is kept up to date with them."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from pgdbm.core.lru import LRUCache
from pgdbm.core.pool import without_reset
from pgdbm.errors import MigrationFileError
from pgdbm.migrations.sources.migration import Migration, hash_of_part, migration_of_text

from ..database.retrying import repeated_on_conflict
from ..database.rows import reading_rows
from ..database.service_schema import SERVICE_SCHEMA
from ..database.sql import statement
from ..errors import ServiceError
from .bundles import Bundle
from .modules import Module, Registry
from .settings import CheckedSettings
from .single_flight import SingleFlight

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping

    from pgdbm.core.connection import RowDict
    from pgdbm.core.queries import Queries

    from ..database.pool import Database

CHANNEL = "pgdbm_service_registry"
"""Replicas are notified here when what is registered changes."""

_STORED_BUNDLES = 256

_sql = partial(statement, "registrations")


class RegistrationStore:
    """The owner of the tables of registrations. Loads what is registered, through any replica, into ``registry``."""

    def __init__(self, database: Database, registry: Registry) -> None:
        self._database = database
        self._registry = registry
        self._version: RowDict | None = None
        # The last bundle that was stored of each module. Most files are those of the registry, so these are few copies.
        self._stored: LRUCache[str, Bundle] = LRUCache(_STORED_BUNDLES)
        self._read = SingleFlight(lambda: database.with_timeout(self._read_changes()))

    @property
    def registry(self) -> Registry:
        """The registry as it was last read."""
        return self._registry

    async def catch_up(self) -> Registry:
        """Read what is registered now: one small query if nothing has changed.

        Raises what the database raises, and a ServiceError if it takes too long; the registry stays unchanged then.
        """
        await self._read()
        return self._registry

    async def catch_up_once(self) -> Registry:
        """Like :meth:`catch_up`, but only if nothing was read since the process started."""
        return self._registry if self._registry.is_complete else await self.catch_up()

    async def in_bundle(self, name: str, digest: str) -> Module:
        """The module ``name`` with a bundle that was registered at some time, even if it now has a different one.

        Raises:
            ServiceError: bundle_unknown.
        """
        bundle = self._stored.get(name)
        if bundle is None or bundle.digest != digest:
            with without_reset():
                bundle = (await _read_bundles(self._own, [digest])).get(digest)
        if bundle is None:
            raise ServiceError(
                "bundle_unknown", f"There is no bundle {digest} of module {name}.", module=name, bundle=digest
            )
        return _registered(name, bundle)

    @repeated_on_conflict
    async def store_bundle(self, name: str, bundle: Bundle) -> None:
        """Store ``bundle`` of the module ``name`` without registering it, so that every replica can read it with
        :meth:`in_bundle`.

        It is on disk once a later transaction is.
        """
        await _store(self._own, bundle, self._stored.get(name), durable=False)
        self._stored.put(name, bundle)

    async def contents(self, checksums: Collection[str]) -> dict[str, str]:
        """The contents of files that were registered at some time, by checksum."""
        rows = await self._own.fetch_all(_sql("contents"), list(checksums))
        return {row["checksum"]: row["content"] for row in rows}

    async def bundles(self, name: str, limit: int, before: int | None) -> list[RowDict]:
        """The bundles that the module ``name`` has had, newest first, with an ``id`` to page by."""
        if "\x00" in name:
            return []
        return await self._own.fetch_all(_sql("bundles"), name, before, limit)

    @contextlib.asynccontextmanager
    async def change(self) -> AsyncIterator[RegistryChange]:
        """A transaction that changes what is registered. Replicas make such changes one after the other."""
        async with self._database.manager(SERVICE_SCHEMA).transaction() as tx:
            await tx.execute(_sql("lock"))
            yield RegistryChange(tx, self._registry)

    @property
    def _own(self) -> Queries:
        return self._database.manager(SERVICE_SCHEMA)

    async def _read_changes(self) -> None:
        with without_reset():
            version = await self._own.fetch_one(_sql("version"))
        # Changes during the read have a higher version, so they are read the next time.
        if version != self._version:
            self._registry.replace_registered(await _read_modules(self._own, self._registry))
            self._version = version


class RegistrationCounts(NamedTuple):
    """What is registered. ``next_s``: seconds until ``within_hour`` decreases by one; None if there are none."""

    modules: int
    modules_of_principal: int
    within_hour: int
    next_s: int | None


class RegistryChange:
    """The operations in a transaction of :meth:`RegistrationStore.change`."""

    def __init__(self, tx: Queries, known: Registry) -> None:
        self._tx = tx
        self._known = known

    async def digest_of(self, name: str) -> str | None:
        """The digest of the bundle of the module ``name``; None, if it is not registered."""
        digest: str | None = await self._tx.fetch_value(_sql("digest_of"), name)
        return digest

    async def counts(self, principal: str) -> RegistrationCounts:
        """How much is registered, in total and by ``principal``."""
        row = await self._tx.fetch_one(_sql("counts"), principal)
        assert row is not None
        with reading_rows():
            return RegistrationCounts(**row)

    async def registry(self) -> Registry:
        """The registry as seen within the transaction."""
        now = Registry(self._known.repo.values())
        now.replace_registered(await _read_modules(self._tx, self._known))
        return now

    async def last_settings(self, name: str) -> CheckedSettings | None:
        """The settings that the module ``name`` was last registered with, even if it has been unregistered since."""
        text: str | None = await self._tx.fetch_value(_sql("last_settings"), name)
        return None if text is None else msgspec.json.decode(text, type=CheckedSettings)

    async def register(self, name: str, bundle: Bundle, by: str) -> None:
        """Register the module ``name`` with ``bundle``."""
        registered = self._known.registered.get(name)
        await _store(self._tx, bundle, None if registered is None else registered.bundle, durable=True)
        await self._tx.execute(_sql("register"), name, bundle.digest, by)
        await self._tx.execute(_sql("count_change"))

    async def unregister(self, name: str) -> None:
        """Unregister the module ``name``. Its bundles stay."""
        await self._tx.execute(_sql("unregister"), name)
        await self._tx.execute(_sql("count_change"))


async def _store(db: Queries, bundle: Bundle, before: Bundle | None, *, durable: bool) -> None:
    """Store ``bundle`` unless it is. If ``before`` is stored, its files are copied there, and only others are sent."""
    digests = [bundle.digest] if before is None else [bundle.digest, before.digest]
    stored = {row["digest"] for row in await db.fetch_all(_sql("settings"), digests)}
    if bundle.digest in stored:
        return
    known: Mapping[str, Migration] = before.files if before is not None and before.digest in stored else {}
    new = [file for name, file in bundle.files.items() if known.get(name) != file]
    sent = (
        [file.filename for file in new],
        [hash_of_part(file.content) for file in new],
        [file.checksum for file in new],
        [file.content for file in new],
    )
    left = [name for name, file in known.items() if bundle.files.get(name) != file]
    settings = msgspec.json.encode(bundle.settings).decode()
    like = before.digest if before is not None and known else None
    await db.execute(_sql("store_bundle"), bundle.digest, settings, *sent, durable, like, left)


def _registered(name: str, bundle: Bundle) -> Module:
    return Module(name=name, bundle=bundle, settings=bundle.settings, source="registered")


async def _read_modules(db: Queries, known: Registry) -> list[Module]:
    """Every registered module; bundles in ``known`` are not read again."""
    rows = await db.fetch_all(_sql("modules"))
    with reading_rows():
        digests = {row["name"]: row["digest"] for row in rows}
    bundles = {module.bundle.digest: module.bundle for module in known.registered.values() if module.bundle}
    bundles |= await _read_bundles(db, set(digests.values()) - bundles.keys())
    with reading_rows():
        return [_registered(name, bundles[digest]) for name, digest in digests.items()]


async def _read_bundles(db: Queries, digests: Collection[str]) -> dict[str, Bundle]:
    """The existing bundles, by digest.

    Raises:
        UnreadableRowsError: a file differs from what was stored.
    """
    if not digests:
        return {}
    wanted = list(digests)
    files: dict[str, dict[str, Migration]] = {digest: {} for digest in wanted}
    rows = await db.fetch_all(_sql("files"), wanted)
    settings = await db.fetch_all(_sql("settings"), wanted)
    with reading_rows():
        for row in rows:
            files[row["digest"]][row["filename"]] = _file_of(row)
        return {
            row["digest"]: Bundle(
                digest=row["digest"],
                settings=msgspec.json.decode(row["settings"], type=CheckedSettings),
                files=files[row["digest"]],
            )
            for row in settings
        }


def _file_of(row: RowDict) -> Migration:
    """Raises ValueError if the file differs from what was stored."""
    if hash_of_part(row["content"]) != row["hash"]:
        raise ValueError(f"{row['filename']} of bundle {row['digest']} does not have its hash")
    try:
        return migration_of_text(row["filename"], row["content"])
    except MigrationFileError as error:
        raise ValueError(f"bundle {row['digest']} has a file that cannot have been stored: {error}") from error
