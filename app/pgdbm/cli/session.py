"""One run of the command line: what was given, what the configuration says, and the way to the database."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import database_url
from .config import FILE_NAME, Module, Project, find, load
from .problems import MISUSED, CommandError, ConfigError
from .toml import expand, suggest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    import asyncpg

    from ..migrations import AsyncMigrationManager
    from .output import Output

_RETRY_S = 1.0
_CLOSE_S = 5.0


@dataclass
class Session:
    """What the options that every command has say. ``wait`` is how many seconds to keep trying to connect."""

    output: Output
    config_file: Path | None = None
    environment: str | None = None
    given_url: str | None = None
    wait: float = 0.0

    @cached_property
    def project(self) -> Project:
        """The configuration.

        Raises:
            ConfigError: it is wrong, or an environment is asked for and there is no file.
        """
        if self.config_file is not None and not self.config_file.is_file():
            raise ConfigError("there is no such file.", file=self.config_file)
        file = self.config_file or find(Path.cwd())
        if file is not None:
            return load(file.absolute(), self.environment)
        if self.environment is not None:
            raise ConfigError(
                f"--env {self.environment} needs a {FILE_NAME}; there is none in this folder or above it.",
                hint="Write one with `pgdbm init`, or name it with --config.",
            )
        return Project()

    @cached_property
    def url(self) -> str:
        """The database's URL: --database-url, else the configuration's, else DATABASE_URL.

        Raises:
            ConfigError: there is none, or it cannot be used.
        """
        if self.given_url is not None:
            return database_url.check(self.given_url, None, "--database-url")
        project = self.project
        if project.url is not None:
            url = expand(project.url, project.file, project.url_key)
            return database_url.check(url, project.file, project.url_key)
        if "DATABASE_URL" in os.environ:
            return database_url.check(os.environ["DATABASE_URL"], None, "DATABASE_URL")
        raise ConfigError(
            "no database is named.",
            file=project.file,
            hint=f"Set DATABASE_URL, give --database-url, or write url under [database] in {FILE_NAME}.",
        )

    def modules(
        self, names: Sequence[str] = (), folder: Path | None = None, schema: str | None = None
    ) -> tuple[Module, ...]:
        """The modules that are meant, in the order of their dependencies.

        With ``folder``, or without a configuration, that is one: ``names`` holds its name. Else all that are
        configured, or those of ``names``; ``schema`` then overrides the schema of the one that is chosen.

        Raises:
            CommandError: ``names`` or ``schema`` do not fit.
        """
        if schema is not None:
            _check_schema(schema)
        if folder is not None or self.project.file is None:
            return (_plain_module(names, folder, schema),)
        known = {module.name: module for module in self.project.modules}
        if not known:
            raise ConfigError(
                "no modules.",
                file=self.project.file,
                key="modules",
                hint="Add [modules.<name>] with path, or give --dir.",
            )
        for name in names:
            if name not in known:
                raise CommandError(
                    f"There is no module {name!r}.",
                    "module_unknown",
                    exit_code=MISUSED,
                    hint=suggest(name, known, "module"),
                    module=name,
                )
        chosen = tuple(module for module in known.values() if not names or module.name in names)
        if schema is None:
            return chosen
        if len(chosen) != 1:
            raise CommandError(
                "--schema needs one module.",
                "usage",
                exit_code=MISUSED,
                hint=f"Name one of {', '.join(module.name for module in chosen)}.",
            )
        return (replace(chosen[0], schema=schema),)

    def require_folders(self, modules: Sequence[Module]) -> None:
        """Raise ConfigError where a folder is missing: a misspelt path must not look like nothing to do."""
        for module in modules:
            if not module.path.is_dir():
                configured = module in self.project.modules
                raise ConfigError(
                    f"there is no folder {module.path}.",
                    file=self.project.file if configured else None,
                    key=f"modules.{module.name}.path" if configured else "--dir",
                    hint="Correct the path, or make the first migration with `pgdbm migrate create`.",
                )

    @asynccontextmanager
    async def pool(self, schema: str | None = None, url: str | None = None) -> AsyncIterator[asyncpg.Pool[Any]]:
        """Connections to the database. With ``schema``, unqualified names mean that schema, then ``public``."""
        import asyncio

        from .. import AsyncDatabaseManager, DatabaseConfig

        project = self.project
        options: dict[str, Any] = {}
        if project.pooler:
            # Through a transaction pooler nothing that belongs to a session can be relied on.
            options = {
                "statement_cache_size": 0,
                "lock_timeout_ms": None,
                "idle_in_transaction_session_timeout_ms": None,
            }
        search_path = None
        if schema is not None and not project.pooler:
            search_path = "public" if schema == "public" else f"{schema}, public"
        pool = await AsyncDatabaseManager.create_shared_pool(
            DatabaseConfig(
                connection_string=url or self.url,
                min_connections=1,
                max_connections=3,
                shared_pool_search_path=search_path,
                server_settings={"application_name": f"pgdbm {project.name}"[:63]} if project.name else None,
                command_timeout=None,
                statement_timeout_ms=None,
                retry_attempts=1 + ceil(self.wait / _RETRY_S),
                retry_delay=_RETRY_S,
                retry_backoff=1.0,
                **options,
            )
        )
        try:
            yield pool
        finally:
            try:
                async with asyncio.timeout(_CLOSE_S):
                    await pool.close()
            except TimeoutError:
                pool.terminate()

    def migrations(
        self, module: Module, pool: asyncpg.Pool[Any] | None = None, **overrides: Any
    ) -> AsyncMigrationManager:
        """The migrations of ``module``; without ``pool`` for what needs no database."""
        from .. import AsyncDatabaseManager, AsyncMigrationManager, DatabaseConfig

        db = (
            AsyncDatabaseManager(pool=pool, schema=module.schema)
            if pool is not None
            else AsyncDatabaseManager(config=DatabaseConfig(schema=module.schema))
        )
        options: dict[str, Any] = {
            "migrations_table": self.project.migrations_table,
            "out_of_order": module.out_of_order,
            "lock_timeout": self.project.lock_timeout,
            "lock_wait_timeout": self.project.lock_wait_timeout,
            **overrides,
        }
        return AsyncMigrationManager(db, module.path, module.name, **options)


def _plain_module(names: Sequence[str], folder: Path | None, schema: str | None) -> Module:
    if len(names) > 1:
        raise CommandError(
            "With --dir, or without a pgdbm.toml, there is one module.",
            "usage",
            exit_code=MISUSED,
            hint="Name one, or write a pgdbm.toml with `pgdbm init`.",
        )
    # The library's own default, so that the history is the one that an application without a module name has.
    default = schema if schema not in (None, "public") else "default"
    return Module(
        name=names[0] if names else default or "default",
        path=(folder or Path("migrations")).absolute(),
        schema=schema or "public",
    )


def _check_schema(schema: str) -> None:
    from ..core.identifiers import check_identifier

    check_identifier(schema)
