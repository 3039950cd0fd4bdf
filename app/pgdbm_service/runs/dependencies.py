"""Checks that the modules that a module depends on are migrated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgdbm.errors import MigrationError
from pgdbm.migrations.engine.plan import in_background, up_to

from ..errors import ServiceError
from ..status.history_tables import schemas_with_pending

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..registry.modules import Module
    from ..status.module_lookup import ModuleLookup
    from ..status.summaries import Summaries

_SCHEMAS_NAMED = 10


async def require_dependencies(
    lookup: ModuleLookup, summaries: Summaries, module: Module, stored: Mapping[str, str]
) -> None:
    """Raise dependency_not_migrated unless what ``module`` depends on is applied, in every schema.

    That is everything up to the version that ``module`` names, or all of the dependency's migrations. Repeatable files
    do not count, nor do backfills in the background. ``stored``: digests of bundles to use for dependencies instead of
    their current files.
    """
    for name, version in module.needs.items():
        needed = await lookup.get(name, bundle=stored.get(name))
        files = [file for file in await lookup.files(needed) if not file.is_repeatable]
        if version is None:
            deferred = in_background(files)
            files = [file for file in files if file.filename not in deferred]
        missing: list[str] | None = None
        try:
            if version is not None:
                files = up_to(files, version)
        except MigrationError:
            reason = f"{name} has no migration with that version"
            hint = f"Register it with {name} first."
        else:
            schemas = await summaries.schemas(needed)
            missing = await schemas_with_pending(lookup.databases.reader(name), name, schemas, files, as_now=False)
            if not missing:
                continue
            missing = missing[:_SCHEMAS_NAMED]
            what = "a migration of it" if version is None else "that version"
            reason = f"{what} is not applied in schema {', '.join(missing)}"
            hint = f"Migrate {name} first, or send with_dependencies: true, or call POST /migrate for all modules."
        raise ServiceError(
            "dependency_not_migrated",
            f"{module.name} depends on {name if version is None else f'{name}@{version}'}, and {reason}. Nothing was "
            f"applied.",
            module=module.name,
            dependency=name,
            version=version,
            schemas=missing,
            hint=hint,
        )
