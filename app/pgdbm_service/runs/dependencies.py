"""A module that needs another one at a version (``depends_on = ["users@003"]``) is not migrated before that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgdbm.errors import MigrationError
from pgdbm.migrations.plan import build_plan

from ..errors import Problem
from .pending import schemas_with_pending

if TYPE_CHECKING:
    from ..database import Database
    from ..managers import Managers
    from ..registry import Module

_MOST_TOLD = 10


async def require_dependencies(database: Database, managers: Managers, module: Module) -> None:
    """Raise a Problem (dependency_not_migrated) unless what ``module`` needs at a version is there, in every schema."""
    for name, version in module.needs.items():
        if version is None:
            continue
        needed = managers.registered(name)
        files = await managers.files(needed)
        try:
            up_to = [file for file in build_plan(files, {}, target=version).pending if not file.is_repeatable]
        except MigrationError:
            raise _problem(module, name, version, f"{name} has no migration of that version (yet)") from None
        schemas = await managers.schemas_of(needed)
        missing = await schemas_with_pending(database.manager(), name, schemas, up_to, as_now=False)
        if missing:
            told = ", ".join(missing[:_MOST_TOLD])
            raise _problem(module, name, version, f"it is not there in schema {told}", missing[:_MOST_TOLD])


def _problem(module: Module, name: str, version: str, reason: str, schemas: list[str] | None = None) -> Problem:
    return Problem(
        "dependency_not_migrated",
        f"{module.name} depends on {name}@{version}, and {reason}. Nothing was applied.",
        module=module.name,
        dependency=name,
        version=version,
        schemas=schemas,
    )
