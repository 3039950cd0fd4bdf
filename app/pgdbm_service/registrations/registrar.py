"""Registering and unregistering modules."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

import msgspec
import structlog

from pgdbm.migrations.files import checksum_of, is_migration_name, order_of

from ..errors import Problem, invalid_request, problem_of
from ..module_settings import MODULE_NAME
from ..own_schema import OWN_SCHEMA
from ..registered_modules import read_modules
from ..registry import Module, Registry
from .applied_files import AppliedFiles
from .checking import checked_bundle
from .structs import BundleItem, BundlePage

if TYPE_CHECKING:
    from pgdbm.core.queries import Queries

    from ..bundles import Bundle
    from ..conditions import Conditions
    from ..database import Database
    from ..former_contents import FormerContents
    from ..registered_modules import RegisteredModules
    from ..summaries import Summaries
    from .submissions import Submission

_SERVER_VERSION = "SELECT pg_catalog.current_setting('server_version_num')::integer / 10000"
# Whoever changes what is registered does it one after the other.
_LOCK = "SELECT version FROM {{tables.registry_version}} FOR UPDATE"
_COUNT_UP = "UPDATE {{tables.registry_version}} SET version = version + 1"
_CURRENT = "SELECT digest FROM {{tables.modules}} WHERE name = $1"
_KEEP_CONTENTS = """
INSERT INTO {{tables.file_contents}} (hash, checksum, content)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[]) ORDER BY 1
ON CONFLICT DO NOTHING
"""
_KEEP_BUNDLE = """
INSERT INTO {{tables.bundles}} (digest, settings) VALUES ($1, $2::jsonb) ON CONFLICT DO NOTHING RETURNING digest
"""
_KEEP_FILES = """
INSERT INTO {{tables.bundle_files}} (digest, filename, hash)
SELECT $1, filename, hash FROM unnest($2::text[], $3::text[]) AS sent (filename, hash)
"""
_SET_CURRENT = """
INSERT INTO {{tables.modules}} (name, digest, registered_by) VALUES ($1, $2, $3)
ON CONFLICT (name) DO UPDATE
SET digest = EXCLUDED.digest, registered_by = EXCLUDED.registered_by, registered_at = now()
"""
_NOTE = "INSERT INTO {{tables.registrations}} (module, digest, registered_by) VALUES ($1, $2, $3)"
_DELETE = "DELETE FROM {{tables.modules}} WHERE name = $1"
_BUNDLES = """
SELECT r.id, r.digest, r.registered_at, r.registered_by,
       m.digest IS NOT NULL AND r.id = pg_catalog.max(r.id) OVER () AS current
FROM {{tables.registrations}} r LEFT JOIN {{tables.modules}} m ON m.name = r.module
WHERE r.module = $1
"""
_BUNDLES_PAGE = f"SELECT * FROM ({_BUNDLES}) AS of_module WHERE $2::bigint IS NULL OR id < $2 ORDER BY id DESC LIMIT $3"  # noqa: S608

logger = structlog.get_logger("pgdbm_service")


class Registrar:
    """Keeps what other services register. Raises Problems, and what the database raises."""

    def __init__(
        self,
        database: Database,
        registry: Registry,
        registered_modules: RegisteredModules,
        summaries: Summaries,
        former: FormerContents,
    ) -> None:
        self._database = database
        self._registry = registry
        self._registered_modules = registered_modules
        self._summaries = summaries
        self._applied = AppliedFiles(summaries, former)

    async def register(
        self, name: str, submission: Submission, conditions: Conditions, caller: str, *, dry_run: bool = False
    ) -> tuple[Module, bool]:
        """The module as it is registered afterwards, and whether that changed anything, or on a ``dry_run`` would.

        Raises:
            Problem: invalid_request, module_conflict, module_invalid, migration_file_invalid, precondition_failed,
                checksum_changed. Nothing is stored then.
        """
        if not MODULE_NAME.match(name):
            raise invalid_request(
                [{"field": "module", "message": "use up to 100 letters, digits, underscores, dots and hyphens"}]
            )
        await self._registered_modules.catch_up()
        if name in self._registry.repo and name not in self._registry.registered:
            raise _in_repository(name, "registered")
        server_version = await self._database.manager().fetch_value(_SERVER_VERSION)
        try:
            bundle = await asyncio.to_thread(checked_bundle, name, submission, server_version)
        except Exception as error:
            raise problem_of(error).with_fields(module=name) from error
        module = Module(name=name, bundle=bundle, settings=bundle.settings, source="registered")
        known = self._registry.registered.get(name)
        if known is None or known.bundle is None or known.bundle.digest != bundle.digest:
            await self._applied.check(name, bundle)
        changed = await self._store(module, bundle, conditions, caller, dry_run=dry_run)
        if changed and not dry_run:
            await self._registered_modules.catch_up()
            logger.info("registered", module=name, bundle=bundle.digest, by=caller)
        return module, changed

    async def pending(self, module: Module) -> list[str]:
        """The files of ``module`` that one of its schemas does not have as they are, in the order of applying."""
        assert module.bundle is not None
        files = {
            (name, checksum_of(content)) for name, content in module.bundle.files.items() if is_migration_name(name)
        }
        (found,) = await self._summaries.shapes([module])
        missing = {name for shape in found.counts for name, _ in files.difference(shape.applied)}
        return sorted(missing, key=order_of)

    async def unregister(self, name: str, conditions: Conditions, caller: str) -> str:
        """The digest of the bundle that the module had. Its data, histories and bundles stay.

        Raises:
            Problem: module_unknown, module_conflict, precondition_failed.
        """
        await self._registered_modules.catch_up()
        if name in self._registry.repo and name not in self._registry.registered:
            raise _in_repository(name, "unregistered")
        if "\x00" in name:
            raise self._unknown(name)
        async with self._database.manager(OWN_SCHEMA).transaction() as tx:
            await tx.execute(_LOCK)
            digest: str | None = await tx.fetch_value(_CURRENT, name)
            if digest is None:
                raise self._unknown(name)
            conditions.check(digest)
            users = [one.name for one in (await self._known(tx)).registered.values() if name in one.needs]
            users += [one.name for one in self._registry.repo.values() if name in one.needs]
            if users and name not in self._registry.repo:
                raise Problem(
                    "module_conflict",
                    f"{', '.join(sorted(set(users))[:5])} depends on {name}.",
                    module=name,
                    hint="Register what depends on it without that dependency first.",
                )
            await tx.execute(_DELETE, name)
            await tx.execute(_COUNT_UP)
        await self._registered_modules.catch_up()
        logger.info("unregistered", module=name, bundle=digest, by=caller)
        return digest

    async def bundles(self, name: str, limit: int, before: int | None) -> tuple[BundlePage, int | None]:
        """A page of the bundles that ``name`` has had, and the id that the next one begins before.

        Raises:
            Problem: module_unknown, if there were none.
        """
        db = self._database.manager(OWN_SCHEMA)
        rows = [] if "\x00" in name else await db.fetch_all(_BUNDLES_PAGE, name, before, limit + 1)
        if not rows and before is None and self._registry.find(name) is None:
            raise self._unknown(name)
        following = rows[limit - 1]["id"] if len(rows) > limit else None
        return BundlePage([msgspec.convert(row, BundleItem) for row in rows[:limit]]), following

    async def _store(
        self, module: Module, bundle: Bundle, conditions: Conditions, caller: str, *, dry_run: bool
    ) -> bool:
        async with self._database.manager(OWN_SCHEMA).transaction() as tx:
            await tx.execute(_LOCK)
            digest: str | None = await tx.fetch_value(_CURRENT, module.name)
            conditions.check(digest)
            if digest == bundle.digest:
                return False
            circle = (await self._known(tx)).with_registered(module).circle(module.name)
            if circle:
                raise Problem(
                    "module_invalid",
                    f"depends_on: the dependencies would lead in a circle: {' → '.join(circle)}.",
                    module=module.name,
                    key="depends_on",
                )
            if dry_run:
                return True
            await _keep_bundle(tx, bundle)
            await tx.execute(_SET_CURRENT, module.name, bundle.digest, caller)
            await tx.execute(_NOTE, module.name, bundle.digest, caller)
            await tx.execute(_COUNT_UP)
        return True

    async def _known(self, tx: Queries) -> Registry:
        """The registry as it is within the transaction."""
        now = Registry(self._registry.repo.values())
        now.replace_registered(await read_modules(tx, self._registry))
        return now

    def _unknown(self, name: str) -> Problem:
        return Problem(
            "module_unknown", f"No module {name!r} is registered.", module=name, hint=self._registry.hint(name)
        )


async def _keep_bundle(tx: Queries, bundle: Bundle) -> None:
    if await tx.fetch_value(_KEEP_BUNDLE, bundle.digest, msgspec.json.encode(bundle.settings).decode()) is None:
        # It is there from an earlier time, with its files.
        return
    hashes = {name: hashlib.sha256(content.encode()).hexdigest() for name, content in bundle.files.items()}
    checksums = [checksum_of(content) for content in bundle.files.values()]
    await tx.execute(_KEEP_CONTENTS, list(hashes.values()), checksums, list(bundle.files.values()))
    await tx.execute(_KEEP_FILES, bundle.digest, list(hashes), list(hashes.values()))


def _in_repository(name: str, verb: str) -> Problem:
    return Problem(
        "module_conflict",
        f"{name} is a folder of the migrations repository, so that it cannot be {verb} here.",
        module=name,
        hint="Take the folder out of the repository and call POST /repo/sync, or use another name.",
    )
