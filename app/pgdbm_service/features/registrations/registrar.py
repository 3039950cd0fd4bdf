"""Registering and unregistering modules."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import structlog

from pgdbm.migrations.sources.names import order_of

from ...api.registrations import BundleDiff, BundleItem, BundlePage
from ...api.scopes import allows
from ...database.failures import service_error_of
from ...errors import ServiceError, invalid_request
from ...registry.approvals import is_weakened
from ...registry.modules import Module
from ...registry.settings import MODULE_NAME
from ...status.history_tables import IN_STATEMENT
from ...status.renames import describe, find_same_files
from .checks import AppliedFiles, checked_bundle
from .comparison import changes_between

if TYPE_CHECKING:
    from ...database.pool import Database
    from ...registry.bundles import Bundle
    from ...registry.file_contents import FileContents
    from ...registry.store import RegistrationStore
    from ...status.module_databases import ModuleDatabases
    from ...status.summaries import Summaries
    from ...web.conditional import Preconditions
    from ...web.request import Principal
    from .limits import RegistrationLimits
    from .submissions import Submission

_MOST_WARNINGS = 10

logger = structlog.get_logger("pgdbm_service")


class Registrar:
    """Registers and unregisters modules. Raises a ServiceError, and what the database raises."""

    def __init__(
        self,
        database: Database,
        databases: ModuleDatabases,
        registrations: RegistrationStore,
        summaries: Summaries,
        contents: FileContents,
        limits: RegistrationLimits,
    ) -> None:
        self._limits = limits
        self._database = database
        self._databases = databases
        self._registrations = registrations
        self._registry = registrations.registry
        self._summaries = summaries
        self._applied = AppliedFiles(summaries, contents)

    async def register(
        self, name: str, submission: Submission, conditions: Preconditions, caller: Principal, *, dry_run: bool = False
    ) -> tuple[Module, bool]:
        """The module as it is registered afterwards, and whether that changed anything, or with ``dry_run`` would
        change anything.

        Raises:
            ServiceError: invalid_request, policy_violated, approvals_weakened, module_conflict, module_invalid,
                migration_file_invalid, precondition_failed, checksum_changed, too_many_modules, too_many_registrations.
                Nothing is stored then.
        """
        if not MODULE_NAME.match(name):
            raise invalid_request(
                [{"field": "module", "message": "use up to 100 letters, digits, underscores, dots and hyphens"}]
            )
        await self._registrations.catch_up()
        if name in self._registry.repo and name not in self._registry.registered:
            raise _in_repository(name, "registered")
        server_version = await self._database.server_version()
        try:
            bundle = await asyncio.to_thread(checked_bundle, name, submission, server_version)
        except Exception as error:
            raise service_error_of(error).with_fields(module=name) from error
        module = Module(name=name, bundle=bundle, settings=bundle.settings, source="registered")
        self._databases.policies.check(module)
        known = self._registry.registered.get(name)
        if known is None or known.bundle is None or known.bundle.digest != bundle.digest:
            await self._applied.check(name, bundle)
        changed = await self._store(module, bundle, conditions, caller, dry_run=dry_run)
        if changed and not dry_run:
            await self._registrations.catch_up()
            logger.info("registered", module=name, bundle=bundle.digest, by=caller.name)
        return module, changed

    async def pending(self, module: Module) -> list[str]:
        """The files of ``module`` whose current content is not applied in at least one of its schemas, in order."""
        assert module.bundle is not None
        files = module.bundle.checksums.items()
        (found,) = await self._summaries.counts([module])
        missing = {name for one in found.counts for name, _ in files - one.applied}
        return sorted(missing, key=order_of)

    async def warnings(self, module: Module) -> list[str]:
        """Warnings about files of ``module`` that are applied under another module's name, in schemas where nothing of
        ``module`` is."""
        assert module.bundle is not None
        schemas = await self._summaries.schemas(module, IN_STATEMENT)
        reader = self._databases.reader(module.name)
        found = await find_same_files(reader, module.name, schemas, module.bundle.checksums)
        return [describe(one, module.name) for one in found[:_MOST_WARNINGS]]

    async def unregister(self, name: str, conditions: Preconditions, caller: str, *, force: bool = False) -> str:
        """The digest of the bundle that the module had. Its data, histories and bundles stay.

        ``force``: even if registered modules depend on it; they become invalid.

        Raises:
            ServiceError: module_unknown, module_conflict, precondition_failed.
        """
        await self._registrations.catch_up()
        if name in self._registry.repo and name not in self._registry.registered:
            raise _in_repository(name, "unregistered")
        if "\x00" in name:
            raise self._unknown(name)
        async with self._registrations.change() as change:
            digest = await change.digest_of(name)
            if digest is None:
                raise self._unknown(name)
            conditions.check(digest)
            registered = (await change.registry()).registered.values()
            dependents = [] if force else [one.name for one in registered if name in one.needs]
            dependents += [one.name for one in self._registry.repo.values() if name in one.needs]
            if dependents and name not in self._registry.repo:
                raise ServiceError(
                    "module_conflict",
                    f"{', '.join(sorted(set(dependents))[:5])} depends on {name}.",
                    module=name,
                    hint="Register the modules that depend on it without that dependency first. Or send ?force=true: "
                    "registered modules that depend on it then become invalid.",
                )
            await change.unregister(name)
        await self._registrations.catch_up()
        logger.info("unregistered", module=name, bundle=digest, by=caller)
        return digest

    async def bundles(self, name: str, limit: int, before: int | None) -> tuple[BundlePage, int | None]:
        """A page of the bundles that ``name`` has had, and the id before which the next page begins.

        Raises:
            ServiceError: module_unknown, if there were none.
        """
        rows = await self._registrations.bundles(name, limit + 1, before)
        if not rows and before is None and self._registry.find(name) is None:
            raise self._unknown(name)
        following = rows[limit - 1]["id"] if len(rows) > limit else None
        return BundlePage([msgspec.convert(row, BundleItem) for row in rows[:limit]]), following

    async def compare_bundles(self, name: str, before: str, after: str) -> BundleDiff:
        """The differences between two bundles of ``name``, given by their digests.

        Raises:
            ServiceError: bundle_unknown.
        """
        old, new = [await self._registrations.in_bundle(name, digest) for digest in (before, after)]
        assert old.bundle is not None
        assert new.bundle is not None
        return BundleDiff(module=name, before=before, after=after, changes=changes_between(old.bundle, new.bundle))

    async def _store(
        self, module: Module, bundle: Bundle, conditions: Preconditions, caller: Principal, *, dry_run: bool
    ) -> bool:
        async with self._registrations.change() as change:
            digest = await change.digest_of(module.name)
            conditions.check(digest)
            if digest == bundle.digest:
                return False
            before = await change.last_settings(module.name)
            if before is not None and is_weakened(before, bundle.settings) and not allows(caller.scopes, "admin"):
                raise _weakened(module.name)
            self._limits.check(await change.counts(caller.name), caller.name, is_new=digest is None)
            cycle = (await change.registry()).with_registered(module).cycle(module.name)
            if cycle:
                raise ServiceError(
                    "module_invalid",
                    f"depends_on: the dependencies would form a cycle: {' → '.join(cycle)}.",
                    module=module.name,
                    key="depends_on",
                )
            if not dry_run:
                await change.register(module.name, bundle, caller.name)
        return True

    def _unknown(self, name: str) -> ServiceError:
        return ServiceError(
            "module_unknown", f"No module {name!r} is registered.", module=name, hint=self._registry.hint(name)
        )


def _weakened(name: str) -> ServiceError:
    return ServiceError(
        "approvals_weakened",
        f"{name} was registered with approvals or windows that this registration would weaken, which requires the "
        "scope admin. Nothing was registered.",
        module=name,
        scope="admin",
    )


def _in_repository(name: str, verb: str) -> ServiceError:
    return ServiceError(
        "module_conflict",
        f"{name} is a folder in the migrations repository and cannot be {verb} over HTTP.",
        module=name,
        hint="Remove the folder from the repository and call POST /repo/sync, or use another name.",
    )
