"""The context of a command: its shared options, the configuration, and connections to the database."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import pgdbm

from ..dsn import parse_dsn
from ..errors import ConfigurationError
from .errors import MISUSED, CommandError, ConfigError
from .project import FILE_NAME, ModuleConfig, Project, find

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable, Sequence

    import asyncpg

    from ..migrations import AsyncMigrationManager
    from ..migrations.sources.source import FolderReadOnce
    from .output import Output

_RETRY_S = 1.0
_CLOSE_S = 5.0


class Selection(TypedDict):
    """The values of the MODULE options."""

    module_options: tuple[str, ...]
    folder: Path | None
    schema: str | None


class ModuleSelection(Selection):
    """The values of the MODULES options."""

    module_names: tuple[str, ...]


@dataclass(eq=False, repr=False)
class CommandContext:
    """The options that all commands share. ``wait`` is the number of seconds to keep trying to connect."""

    output: Output
    config_file: Path | None = None
    environment: str | None = None
    given_url: str | None = None
    wait: float = 0.0

    @cached_property
    def project(self) -> Project:
        """The configuration.

        Raises:
            ConfigError: it is invalid, or an environment is given without a file.
        """
        if self.config_file is not None and not self.config_file.is_file():
            raise ConfigError("the file does not exist.", file=self.config_file)
        file = self.config_file or find(Path.cwd())
        if file is not None:
            from .config import load  # imported lazily: --dir needs none

            return load(file.absolute(), self.environment)
        if self.environment is not None:
            raise ConfigError(
                f"--env {self.environment} needs a {FILE_NAME}, and none was found in this folder or above it.",
                hint="Create one with `pgdbm init`, or name it with --config.",
            )
        return Project()

    @cached_property
    def url(self) -> str:
        """The database URL: --database-url, else the one in the configuration, else DATABASE_URL.

        Raises:
            ConfigError: there is no URL, or it is invalid.
        """
        if self.given_url is not None:
            return _checked(self.given_url, None, "--database-url")
        project = self.project
        if project.url is not None:
            from .toml import expand  # imported lazily, as above

            url = expand(project.url, project.file, project.url_key)
            return _checked(url, project.file, project.url_key)
        if "DATABASE_URL" in os.environ:
            return _checked(os.environ["DATABASE_URL"], None, "DATABASE_URL")
        raise ConfigError(
            "no database is configured.",
            file=project.file,
            hint=f"Set DATABASE_URL, give --database-url, or set url under [database] in {FILE_NAME}.",
        )

    def selected(self, selection: ModuleSelection) -> tuple[ModuleConfig, ...]:
        """The modules of ``selection``, as in :meth:`modules`."""
        names = (*selection["module_names"], *selection["module_options"])
        return self.modules(names, selection["folder"], selection["schema"])

    def modules(
        self, names: Sequence[str] = (), folder: Path | None = None, schema: str | None = None
    ) -> tuple[ModuleConfig, ...]:
        """The selected modules, in the order of their dependencies.

        With ``folder``, or without a configuration file, there is one module, and ``names`` holds at most its name.
        Otherwise they are the configured modules, or those in ``names``; ``schema`` replaces the schema if there is a
        single module.

        Raises:
            CommandError: ``names`` or ``schema`` do not match the configuration.
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
                from .toml import suggest

                raise CommandError(
                    f"Module {name!r} does not exist.",
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
                "--schema applies to a single module.",
                "usage",
                exit_code=MISUSED,
                hint=f"Name one of {', '.join(module.name for module in chosen)}.",
            )
        return (chosen[0]._replace(schema=schema),)

    def module(self, names: Sequence[str] = (), folder: Path | None = None, schema: str | None = None) -> ModuleConfig:
        """The selected module, as in :meth:`modules`.

        Raises:
            CommandError: as for :meth:`modules`, or there are several.
        """
        modules = self.modules(names, folder, schema)
        if len(modules) != 1:
            raise CommandError(
                "There are several modules.",
                "usage",
                exit_code=MISUSED,
                hint=f"Choose one with --module: {', '.join(module.name for module in modules)}.",
            )
        return modules[0]

    def require_folders(self, modules: Sequence[ModuleConfig]) -> None:
        """Raise ConfigError if a folder is missing: a misspelled path must not look like an empty module."""
        for module in modules:
            if not module.path.is_dir():
                configured = module in self.project.modules
                raise ConfigError(
                    f"the folder {module.path} does not exist.",
                    file=self.project.file if configured else None,
                    key=f"modules.{module.name}.path" if configured else "--dir",
                    hint="Correct the path, or create the first migration with `pgdbm migrate create`.",
                )

    def read_migrations(self, modules: Sequence[ModuleConfig]) -> dict[str, FolderReadOnce]:
        """The migrations of each module, by its name.

        Raises:
            CommandError: a folder has none: a wrong mount must not look like success.
        """
        from ..migrations.sources.source import FolderReadOnce

        sources = {module.name: FolderReadOnce(module.path) for module in modules}
        for module in modules:
            if not sources[module.name].collect():
                raise CommandError(
                    f"There are no migrations (*.sql) in {module.path}.",
                    "config_invalid",
                    exit_code=MISUSED,
                    hint="Correct the path, or create the first migration with `pgdbm migrate create`.",
                    module=module.name,
                )
        return sources

    @asynccontextmanager
    async def pool(
        self, schema: str | None = None, url: str | None = None, opening: asyncio.Task[asyncpg.Pool[Any]] | None = None
    ) -> AsyncIterator[asyncpg.Pool[Any]]:
        """A pool. With ``schema``, unqualified names refer to that schema, then to ``public``. ``opening``: the pool is
        opened already, by :meth:`open_while`."""
        import asyncio

        pool = await (self._open(schema, url) if opening is None else opening)
        try:
            yield pool
        except BaseException:
            # Statements may still be running.
            try:
                async with asyncio.timeout(_CLOSE_S):
                    await pool.close()
            except TimeoutError:
                pool.terminate()
            raise
        # As psql does: it says so to the server, and does not wait until the sessions have ended.
        pool.terminate()

    async def open_while(self, work: Callable[[], object], schema: str) -> asyncio.Task[asyncpg.Pool[Any]]:
        """Call ``work`` in a thread while the server accepts the connection of a pool for ``schema``.

        Returns the pool for the parameter ``opening`` of :meth:`pool`, which also raises the error if the server cannot
        be reached. An error of ``work`` is raised here.
        """
        import asyncio

        opening = asyncio.create_task(self._open(schema))
        try:
            # First everything until the connection is requested.
            await asyncio.sleep(0)
            await asyncio.to_thread(work)
        except BaseException:
            opening.cancel()
            for opened in await asyncio.gather(opening, return_exceptions=True):
                if not isinstance(opened, BaseException):
                    opened.terminate()
            raise
        return opening

    async def _open(self, schema: str | None = None, url: str | None = None) -> asyncpg.Pool[Any]:
        project = self.project
        options: dict[str, Any] = {}
        if project.pooler:
            # A transaction pooler may run each transaction in a different session.
            options = {
                "statement_cache_size": 0,
                "lock_timeout_ms": None,
                "idle_in_transaction_session_timeout_ms": None,
            }
        search_path = None
        if schema is not None and not project.pooler:
            search_path = "public" if schema == "public" else f"{schema}, public"
        return await pgdbm.AsyncDatabaseManager.create_shared_pool(
            pgdbm.DatabaseConfig(
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

    def migrations(
        self,
        module: ModuleConfig,
        pool: asyncpg.Pool[Any] | None = None,
        source: FolderReadOnce | None = None,
        **overrides: Any,
    ) -> AsyncMigrationManager:
        """The manager of ``module``; without ``pool``, only what needs no database works.

        ``source``: its migrations, if they have been read.
        """
        db = (
            pgdbm.AsyncDatabaseManager(pool=pool, schema=module.schema)
            if pool is not None
            else pgdbm.AsyncDatabaseManager(config=pgdbm.DatabaseConfig(schema=module.schema))
        )
        options: dict[str, Any] = {
            "migrations_table": self.project.migrations_table,
            "out_of_order": module.out_of_order,
            "limits": module.limits,
            "lock_timeout": self.project.lock_timeout,
            "lock_wait_timeout": self.project.lock_wait_timeout,
            **overrides,
        }
        migrations: Any = source or module.path
        return pgdbm.AsyncMigrationManager(db, migrations, module.name, **options)


def _plain_module(names: Sequence[str], folder: Path | None, schema: str | None) -> ModuleConfig:
    if len(names) > 1:
        raise CommandError(
            "With --dir, or without a pgdbm.toml, there is a single module.",
            "usage",
            exit_code=MISUSED,
            hint="Give one name, or create a pgdbm.toml with `pgdbm init`.",
        )
    # The library's default, so that the command and an application without a module name share a history.
    default = schema if schema not in (None, "public") else "default"
    return ModuleConfig(
        name=names[0] if names else default or "default",
        path=(folder or Path("migrations")).absolute(),
        schema=schema or "public",
    )


def _checked(url: str, file: Path | None, key: str) -> str:
    try:
        parse_dsn(url, key)
    except ConfigurationError as error:
        raise ConfigError(error.message.removeprefix(f"{key}: "), file=file, key=key) from None
    return url


def _check_schema(schema: str) -> None:
    from ..core.templating import check_identifier

    check_identifier(schema)
