"""From the name of a module to the library's manager of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from pgdbm.migrations import AsyncMigrationManager

from .bundles import read_folder
from .errors import Problem, database_unavailable, invalid_request
from .registry import Module, require_valid
from .shared_look import SharedLook

if TYPE_CHECKING:
    from pgdbm.migrations import Migration
    from pgdbm.migrations.plan import Plan

    from .bundles import Bundle
    from .database import Database
    from .registered_modules import RegisteredModules
    from .registry import Registry
    from .summaries import HistoryOnly, Summaries


# Managers, of those that are asked for again and again: to make one takes as long as to ask the database something.
_MOST_KEPT = 256


class _Kept(NamedTuple):
    module: Module
    manager: AsyncMigrationManager
    look: SharedLook[Plan]


class Managers:
    """Managers over the shared pool. ``lock_wait_s`` bounds each wait of theirs: for other runners, and for locks."""

    def __init__(
        self,
        database: Database,
        registry: Registry,
        registrations: RegisteredModules,
        summaries: Summaries,
        lock_wait_s: float,
    ) -> None:
        self._database = database
        self._registry = registry
        self._registrations = registrations
        self._summaries = summaries
        self._lock_wait_s = lock_wait_s
        self._kept: dict[tuple[str, str], _Kept] = {}

    def registered(self, name: str) -> Module:
        """The module to do something with, as this replica knows it: what others register, it knows a second later.

        Raises:
            Problem: module_unknown, also where only a history table knows it; module_invalid; database_unavailable,
                while it is not known yet what is registered.
        """
        module = self._registry.find(name)
        if module is None:
            raise self.unknown(name) if self._registry.is_complete else database_unavailable()
        require_valid(module)
        return module

    async def current(self, name: str, bundle: str | None = None) -> Module:
        """The module to migrate now, with the newest bundle that is registered, through whichever replica.

        ``bundle`` is the digest that it must have: its files stay as they are now then, whatever becomes of them.

        Raises:
            Problem: as :meth:`registered`; bundle_moved.
        """
        await self._registrations.catch_up()
        module = self.registered(name)
        if bundle is None:
            return module
        now = await self.bundle(module)
        if now.digest != bundle:
            raise Problem(
                "bundle_moved",
                f"The bundle of {name} is {now.digest} now. Nothing was applied.",
                module=name,
                bundle=bundle,
                current_bundle=now.digest,
            )
        return msgspec.structs.replace(module, bundle=now)

    async def in_order(self) -> list[Module]:
        """Every module, with the newest that is registered, after those that it depends on.

        Raises:
            Problem: module_invalid, if one of them is.
        """
        await self._registrations.catch_up()
        return self._registry.in_order()

    async def at(self, name: str, bundle: str) -> Module:
        """``name`` in the bundle with this digest, which it may have no longer.

        Raises:
            Problem: bundle_unknown.
        """
        module = self._registry.find(name)
        if module is not None and module.problem is None:
            now = await self.bundle(module)
            if now.digest == bundle:
                return msgspec.structs.replace(module, bundle=now)
        return await self._registrations.stored(name, bundle)

    async def know_registered(self) -> None:
        """Make sure that the registered modules have been read once: a job keeps up with what comes later."""
        if not self._registry.is_complete:
            await self._registrations.catch_up()

    async def find(self, name: str) -> Module | HistoryOnly:
        """The module to look at: a registered one, which may be invalid, or one that a history table knows.

        Raises:
            Problem: module_unknown.
        """
        if self._registry.find(name) is None:
            # Somebody may have registered it through another replica just now.
            await self._registrations.catch_up()
        module = self._registry.find(name)
        if module is not None:
            return module
        only = await self._summaries.only_in_histories((), name)
        if only:
            return only[0]
        raise self.unknown(name)

    async def schemas_of(self, module: Module) -> list[str]:
        """The schemas that ``module`` is for, in the order in which they are migrated."""
        return await self._summaries.schemas(module)

    def of(self, module: Module, schema: str | None = None) -> AsyncMigrationManager:
        """The manager of ``module`` in one of its schemas, by default the first.

        Raises:
            Problem: module_invalid, if the folder has gone. invalid_request, without a schema where a pattern says
                which there are, or with one that is not the module's.
        """
        self._require_files(module)
        return self._keep(module, _place_of(module, schema)).manager

    async def look(self, module: Module, schema: str) -> Plan:
        """What of ``module`` is pending in ``schema``, and what is applied, read from the history now.

        Raises:
            Problem: module_invalid. And what :meth:`AsyncMigrationManager.look` raises.
        """
        self._require_files(module)
        return await self._keep(module, schema).look()

    async def files(self, module: Module) -> list[Migration]:
        """The migrations of ``module``, in order, whatever its schemas are.

        Raises:
            Problem: module_invalid. MigrationFileError: a file cannot be read.
        """
        self._require_files(module)
        return await self._keep(module, "public").manager.find_migration_files()

    async def bundle(self, module: Module) -> Bundle:
        """What ``module`` consists of now.

        Raises:
            Problem: module_invalid. MigrationFileError: a file cannot be read.
        """
        if module.bundle is not None:
            return module.bundle
        self._require_files(module)
        assert module.folder is not None
        return await asyncio.to_thread(read_folder, module.settings, module.folder)

    async def frozen(self, module: Module) -> AsyncMigrationManager:
        """The manager of ``module`` with its files as they are now, whatever becomes of them on the disk."""
        return self.of(msgspec.structs.replace(module, bundle=await self.bundle(module)))

    async def to_read(self, name: str, schema: str | None = None) -> AsyncMigrationManager:
        """A manager to read with: one without files, where only a history table knows the module.

        Raises:
            Problem: module_unknown, module_invalid, invalid_request.
        """
        manager = await self.to_read_history(name, schema)
        module = self._registry.find(name)
        if module is not None:
            self._require_files(module)
        return manager

    async def to_read_history(self, name: str, schema: str | None = None) -> AsyncMigrationManager:
        """As :meth:`to_read`, but the files may have gone.

        Raises:
            Problem: module_unknown, module_invalid, invalid_request.
        """
        found = await self.find(name)
        if not isinstance(found, Module):
            return AsyncMigrationManager(self._database.manager(schema or found.schema), {}, found.name)
        require_valid(found)
        return self._keep(found, _place_of(found, schema)).manager

    def _require_files(self, module: Module) -> None:
        """Raise module_invalid if the folder has gone: no files would look like nothing to do."""
        if module.bundle is None and (module.folder is None or not module.folder.is_dir()):
            raise Problem("module_invalid", f"The folder of module {module.name} is gone.", module=module.name)

    def _keep(self, module: Module, schema: str) -> _Kept:
        place = (module.name, schema)
        kept = self._kept.get(place)
        if kept is not None and kept.module is module:
            return kept
        manager = AsyncMigrationManager(
            self._database.manager(schema),
            module.folder or {} if module.bundle is None else module.bundle.files,
            module.name,
            out_of_order=module.out_of_order,
            lock_wait_timeout=self._lock_wait_s,
            retry_for=self._lock_wait_s,
            role=module.role,
        )
        if len(self._kept) >= _MOST_KEPT:
            self._kept.pop(next(iter(self._kept)))
        self._kept[place] = kept = _Kept(
            module, manager, SharedLook(lambda: self._database.within_limit(manager.look()))
        )
        return kept

    def unknown(self, name: str) -> Problem:
        """That there is no such module."""
        return Problem("module_unknown", f"There is no module {name!r}.", module=name, hint=self._registry.hint(name))


def _place_of(module: Module, schema: str | None) -> str:
    if schema is None and module.pattern is not None:
        raise invalid_request(
            [{"field": "schema", "message": f"{module.name} is for the schemas {module.pattern}: say which"}]
        )
    if schema is not None and not module.is_for(schema):
        raise invalid_request([{"field": "schema", "message": f"{module.name} is not for the schema {schema}"}])
    return schema or module.schema
