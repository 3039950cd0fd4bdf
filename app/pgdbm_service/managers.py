"""From the name of a module to the library's manager of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgdbm.migrations import AsyncMigrationManager

from .errors import Problem
from .history_tables import HistoryModule, modules_in_history
from .registry import Module, require_valid

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pgdbm.migrations.events import Listener

    from .database import Database
    from .registry import Registry


class Managers:
    """Managers over the shared pool. ``lock_wait_s`` bounds each wait of theirs: for other runners, and for locks."""

    def __init__(self, database: Database, registry: Registry, lock_wait_s: float) -> None:
        self._database = database
        self._registry = registry
        self._lock_wait_s = lock_wait_s

    def registered(self, name: str) -> Module:
        """The module to do something with.

        Raises:
            Problem: module_unknown, also where only a history table knows it; module_invalid.
        """
        module = self._registry.find(name)
        if module is None:
            raise self._unknown(name)
        require_valid(module)
        return module

    async def find(self, name: str) -> Module | HistoryModule:
        """The module to look at: a registered one, which may be invalid, or one that a history table knows.

        Raises:
            Problem: module_unknown.
        """
        module = self._registry.find(name)
        if module is not None:
            return module
        for found in await modules_in_history(self._database.manager()):
            if found.name == name:
                return found
        raise self._unknown(name)

    async def schemas_of(self, module: Module) -> list[str]:
        """The schemas that ``module`` is for, in the order in which they are migrated."""
        return [module.schema]

    def of(self, module: Module, schema: str | None = None, on_event: Listener | None = None) -> AsyncMigrationManager:
        """The manager of ``module`` in one of its schemas, by default the first. ``on_event`` hears what it does.

        Raises:
            Problem: module_invalid, if the folder has gone: no files would look like nothing to do.
        """
        if not module.folder.is_dir():
            raise Problem("module_invalid", f"The folder of module {module.name} is gone.", module=module.name)
        return self._manager(module, module.folder, schema, on_event)

    async def frozen(self, module: Module, on_event: Listener | None = None) -> AsyncMigrationManager:
        """The manager of ``module`` with its files as they are now, whatever becomes of them on the disk.

        Files that lead back are left out.
        """
        files = await self.of(module).find_migration_files()
        return self._manager(module, {file.filename: file.content for file in files}, on_event=on_event)

    async def to_read(self, name: str) -> AsyncMigrationManager:
        """A manager to read with: one without files, where only a history table knows the module.

        Raises:
            Problem: module_unknown, module_invalid.
        """
        found = await self.find(name)
        if isinstance(found, HistoryModule):
            return AsyncMigrationManager(self._database.manager(found.schema), {}, found.name)
        require_valid(found)
        return self.of(found)

    def _manager(
        self,
        module: Module,
        files: Path | Mapping[str, str],
        schema: str | None = None,
        on_event: Listener | None = None,
    ) -> AsyncMigrationManager:
        return AsyncMigrationManager(
            self._database.manager(schema or module.schema),
            files,
            module.name,
            out_of_order=module.out_of_order,
            lock_wait_timeout=self._lock_wait_s,
            retry_for=self._lock_wait_s,
            on_event=on_event,
        )

    def _unknown(self, name: str) -> Problem:
        return Problem("module_unknown", f"There is no module {name!r}.", module=name, hint=self._registry.hint(name))
