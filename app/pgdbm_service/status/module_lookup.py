"""Looks up a module by its name, its files, and the library's manager of it."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Literal, NamedTuple, overload

from pgdbm.core.lru import LRUCache
from pgdbm.migrations import AsyncMigrationManager

from ..errors import ServiceError, invalid_request
from ..registry.bundles import known_bundle, read_folder, read_settled
from ..registry.modules import Module, repository_unreadable, require_repository, require_valid
from ..registry.repository import RepositoryError, require_readable
from ..registry.single_flight import SingleFlight
from .history_tables import schemas_with_pending
from .summaries import UnregisteredModule

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from pgdbm.migrations import Migration
    from pgdbm.migrations.engine.plan import ReadPlan

    from ..registry.bundles import Bundle
    from ..registry.modules import Registry
    from ..registry.store import RegistrationStore
    from .module_databases import ModuleDatabases
    from .summaries import Summaries


# Creating a manager takes as long as a database query, so the ones in use are kept.
_MANAGERS_KEPT = 256


class _Kept(NamedTuple):
    module: Module
    manager: AsyncMigrationManager
    plan: SingleFlight[ReadPlan]


class Pending(NamedTuple):
    """``schemas``: those in which something may be pending. ``skipped`` and ``total`` count files if nothing is.

    ``started``: schemas in which part of the module is known to be applied. ``known``: the plan, if one schema was
    planned.
    """

    schemas: Sequence[str]
    skipped: int = 0
    total: int = 0
    started: Collection[str] = frozenset()
    known: ReadPlan | None = None


class ModuleLookup:
    """The modules, and their managers over the shared pool. ``lock_wait_s`` limits each of their waits, for other
    runners and for locks.

    :meth:`get` also returns invalid modules; for those, the other methods raise module_invalid.
    """

    def __init__(
        self,
        databases: ModuleDatabases,
        registry: Registry,
        registrations: RegistrationStore,
        summaries: Summaries,
        lock_wait_s: float,
    ) -> None:
        self.databases = databases
        self.policies = databases.policies
        self._registry = registry
        self._registrations = registrations
        self._summaries = summaries
        self._lock_wait_s = lock_wait_s
        self._kept: LRUCache[tuple[str, str], _Kept] = LRUCache(_MANAGERS_KEPT)

    @overload
    async def get(self, name: str, *, latest: bool = False, bundle: str | None = None) -> Module: ...

    @overload
    async def get(self, name: str, *, or_history: Literal[True]) -> Module | UnregisteredModule: ...

    async def get(
        self, name: str, *, latest: bool = False, bundle: str | None = None, or_history: bool = False
    ) -> Module | UnregisteredModule:
        """The module ``name`` as this replica knows it.

        ``latest``: with the bundle that was last registered through any replica. ``bundle``: as it was in the bundle
        with this digest. ``or_history``: an UnregisteredModule if it exists only in a history table.

        Raises:
            ServiceError: module_unknown, bundle_unknown; database_unavailable.
        """
        if bundle is not None:
            return await self._in_bundle(name, bundle)
        if latest or self._registry.find(name) is None:
            await self._registrations.catch_up()
        module = self._registry.find(name)
        if module is not None:
            return module
        unregistered = await self._summaries.unregistered((), name) if or_history else ()
        if not unregistered:
            require_repository(self._registry)
            raise ServiceError(
                "module_unknown", f"There is no module {name!r}.", module=name, hint=self._registry.hint(name)
            )
        return unregistered[0]

    def manager(
        self, module: Module | UnregisteredModule, schema: str | None = None, *, needs_files: bool = True
    ) -> AsyncMigrationManager:
        """The manager of ``module`` in one of its schemas, by default the first.

        The manager of an unregistered module has no files. ``needs_files``: the folder of the module must exist.

        Raises:
            ServiceError: module_invalid. invalid_request, without a schema if the module has a pattern, or with a
                schema that is not the module's. policy_violated, if the schema belongs to a login that the module does
                not have.
        """
        if isinstance(module, UnregisteredModule):
            self.policies.check_reading(module.name, schema or module.schema)
            return AsyncMigrationManager(self.databases.of(module.name, schema or module.schema), {}, module.name)
        require_valid(module)
        if needs_files:
            _require_folder(module)
        schema = _schema_of(module, schema)
        self.policies.check_reading(module.name, schema)
        return self._keep(module, schema).manager

    async def reader(
        self, module: Module | UnregisteredModule, schema: str | None = None, *, needs_files: bool = True
    ) -> AsyncMigrationManager:
        """Like :meth:`manager`, for reading what is in the schema, but not with a login that belongs to other modules.

        Raises:
            ServiceError: policy_violated. Also raises whatever :meth:`manager` raises.
        """
        manager = self.manager(module, schema, needs_files=needs_files)
        await self.databases.require_own_schema(module.name, manager.schema)
        return manager

    async def runner(self, module: Module, schema: str | None = None) -> AsyncMigrationManager:
        """Like :meth:`manager`, for executing migrations: the operator's policy must allow the module's schema and
        role.

        Raises:
            ServiceError: policy_violated. Also raises whatever :meth:`manager` raises.
        """
        manager = self.manager(module, schema)
        self.policies.check_in(module, manager.schema)
        await self.databases.require_own_schema(module.name, manager.schema)
        return manager

    async def files(self, module: Module) -> list[Migration]:
        """The migrations of ``module``, in order.

        Raises:
            ServiceError: module_invalid.
            MigrationFileError: a file cannot be read.
        """
        _require_folder(module)
        return await self._keep(module, "public").manager.find_migration_files()

    async def bundle(
        self, module: Module, *, settled: bool = True, planned: tuple[Migration, ...] | None = None
    ) -> Bundle:
        """The bundle of ``module``; for a folder, with its current files. ``settled``: wait while they are being
        written or replaced. ``planned``: its migrations, if they have just been read for a plan.

        Raises:
            ServiceError: module_invalid, files_changing.
            MigrationFileError: a file cannot be read.
        """
        _require_folder(module)
        if module.bundle is not None:
            return module.bundle
        assert module.folder is not None
        known = None if planned is None else known_bundle(module.settings, module.folder, planned)
        if known is not None:
            return known
        return await asyncio.to_thread(read_settled if settled else read_folder, module.settings, module.folder)

    async def pending_schemas(self, module: Module, schemas: Sequence[str], target: str | None = None) -> Pending:
        """The ``schemas`` in which ``module`` may have something to apply, up to ``target``.

        ``schemas`` belong to the module, and the policies allow them. One schema is planned. If there are several, they
        are compared with the histories, a hundred per statement; with a target, all of them may have something to
        apply.

        Raises:
            ServiceError: module_invalid. Also raises whatever planning raises, for example for a changed file.
        """
        _require_folder(module)
        kept = self._keep(module, schemas[0])
        if len(schemas) == 1:
            await self.databases.require_own_schema(module.name, schemas[0])
            # Concurrent requests usually have no target, so they share the plan.
            known = await (kept.plan() if target is None else kept.manager.read_plan(target=target))
            plan = known.plan
            if plan.pending:
                await kept.manager.require_allowed(target=target)
                return Pending(schemas, started=set(schemas) if plan.skipped else frozenset(), known=known)
            return Pending([], len(plan.skipped), len(plan.skipped) + len(plan.beyond_target))
        if target is not None:
            return Pending(schemas)
        files = await kept.manager.find_migration_files()
        count = len(files) * len(schemas)
        reader = self.databases.reader(module.name)
        started: set[str] = set()
        pending = await schemas_with_pending(reader, module.name, schemas, files, started=started)
        return Pending(pending, count, count, started)

    async def _in_bundle(self, name: str, digest: str) -> Module:
        module = self._registry.find(name)
        if module is not None and module.bundle is not None and module.bundle.digest == digest:
            return module
        return await self._registrations.in_bundle(name, digest)

    def _keep(self, module: Module, schema: str) -> _Kept:
        kept = self._kept.get((module.name, schema))
        if kept is not None and kept.module is module:
            return kept
        manager = AsyncMigrationManager(
            self.databases.of(module.name, schema),
            module.folder or {} if module.bundle is None else module.bundle.files,
            module.name,
            out_of_order=module.out_of_order,
            lock_wait_timeout=self._lock_wait_s,
            retry_for=self._lock_wait_s,
            role=module.role,
            limits=self.policies.limits_of(module),
        )
        plan = SingleFlight(lambda: self.databases.with_timeout(manager.read_plan()))
        return self._kept.put((module.name, schema), _Kept(module, manager, plan))


def _require_folder(module: Module) -> None:
    """Raise module_invalid if the folder was removed: without files, nothing would be pending.

    Raises repository_unreadable if the repository cannot be read.
    """
    require_valid(module)
    if module.bundle is not None:
        return
    folder = module.folder
    if folder is None or not os.path.isdir(folder):  # noqa: PTH112 - Path.is_dir raises where nothing may be read
        if folder is not None:
            try:
                require_readable(folder)
            except RepositoryError as error:
                raise repository_unreadable(str(error), module.name) from None
        raise ServiceError("module_invalid", f"The folder of module {module.name} was removed.", module=module.name)


def _schema_of(module: Module, schema: str | None) -> str:
    if schema is None and module.pattern is not None:
        raise invalid_request(
            [{"field": "schema", "message": f"{module.name} is for the schemas {module.pattern}: name one of them"}]
        )
    if schema is not None and not module.is_for(schema):
        raise invalid_request([{"field": "schema", "message": f"{module.name} is not for the schema {schema}"}])
    return schema or module.schema
