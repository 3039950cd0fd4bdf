"""``pgdbm.toml``: which modules there are, where their files are, and which database they belong to.

Reading it asks nothing of the environment but the variables of values that are used: a URL only when a database is
wanted, another environment's values never.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .problems import ConfigError
from .toml import Table, parse, suggest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..migrations.results import OutOfOrder

FILE_NAME = "pgdbm.toml"

_LONGEST_MODULE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A named set of migrations, and the schema that they belong to."""

    name: str
    path: Path
    schema: str = "public"
    depends_on: tuple[str, ...] = ()
    out_of_order: OutOfOrder = "allow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """What a configuration file says, for one environment; without a file, nothing but defaults.

    ``url`` is as written: :func:`~.toml.expand` it when it is needed.
    """

    file: Path | None = None
    name: str | None = None
    environment: str | None = None
    url: str | None = None
    url_key: str = "database.url"
    pooler: bool = False
    modules: tuple[Module, ...] = ()
    migrations_table: str = "schema_migrations"
    lock_timeout: float | None = 5.0
    lock_wait_timeout: float = 600.0


def find(start: Path) -> Path | None:
    """The nearest ``pgdbm.toml`` in ``start`` or a folder above it."""
    for folder in (start, *start.parents):
        file = folder / FILE_NAME
        if file.is_file():
            return file
    return None


def load(file: Path, environment: str | None = None) -> Project:
    """The project in ``file``, with the overrides of ``environment``.

    Raises:
        ConfigError: with the file, the key, or the line where the file is no TOML.
    """
    top = Table(file, "", parse(file))
    project, database = top.table("project"), top.table("database")
    chosen = Table(file, "", {})
    environments = top.table("environments")
    for name in environments.names():
        candidate = environments.table(name)
        _check_environment(candidate)
        if name == environment:
            chosen = candidate
    if environment is not None and environment not in environments.values:
        raise ConfigError(
            f"there is no environment {environment!r}.",
            file=file,
            key="environments",
            hint=suggest(environment, environments.values, "environment"),
        )
    overrides, overridden = chosen.table("database"), chosen.table("modules")
    url_table = overrides if "url" in overrides.values else database
    pooler_table = overrides if "pooler" in overrides.values else database
    policy = project.choice("out_of_order", ("allow", "reject"), "allow")
    tables = top.table("modules")
    for name in overridden.names():
        if name not in tables.values:
            raise overridden.error(name, f"there is no module {name!r}.", suggest(name, tables.values, "module"))
    modules = tuple(_module(name, tables.table(name), overridden.table(name), policy) for name in tables.names())
    loaded = Project(
        file=file,
        name=project.text("name"),
        environment=environment,
        url=url_table.raw("url"),
        url_key=url_table.key("url"),
        pooler=pooler_table.flag("pooler"),
        modules=modules,
        migrations_table=project.identifier("migrations_table", "schema_migrations"),
        lock_timeout=project.seconds("lock_timeout", 5.0),
        lock_wait_timeout=project.seconds("lock_wait_timeout", 600.0),
    )
    project.finish("name", "out_of_order", "migrations_table", "lock_timeout", "lock_wait_timeout")
    database.finish("url", "pooler")
    top.finish("project", "database", "modules", "environments")
    return replace(loaded, modules=in_order(modules, file))


def in_order(modules: Iterable[Module], file: Path | None) -> tuple[Module, ...]:
    """``modules`` so that each comes after those that it depends on, else as they stand in the file.

    Raises:
        ConfigError: a module depends on one that is not there, or on itself by a detour.
    """
    from graphlib import CycleError, TopologicalSorter

    by_name = {module.name: module for module in modules}
    for module in by_name.values():
        for needed in module.depends_on:
            if needed not in by_name:
                raise ConfigError(
                    f"there is no module {needed!r}.",
                    file=file,
                    key=f"modules.{module.name}.depends_on",
                    hint=suggest(needed, by_name, "module"),
                )
    sorter = TopologicalSorter({module.name: module.depends_on for module in by_name.values()})
    try:
        sorter.prepare()
    except CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        raise ConfigError(
            f"the dependencies lead in a circle: {circle}.",
            file=file,
            key=f"modules.{error.args[1][0]}.depends_on",
            hint="Take one of them out.",
        ) from error
    position = {name: number for number, name in enumerate(by_name)}
    ordered: list[Module] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=position.__getitem__)
        ordered += (by_name[name] for name in ready)
        sorter.done(*ready)
    return tuple(ordered)


def _check_environment(table: Table) -> None:
    table.finish("database", "modules")
    database = table.table("database")
    database.finish("url", "pooler")
    database.raw("url")
    modules = table.table("modules")
    for name in modules.names():
        modules.table(name).finish("schema")
        modules.table(name).raw("schema")


def _module(name: str, table: Table, override: Table, policy: str) -> Module:
    table.finish("path", "schema", "depends_on", "out_of_order")
    if not 0 < len(name) <= _LONGEST_MODULE:
        raise table.error("path", f"the module's name must have 1 to {_LONGEST_MODULE} characters.")
    path = table.text("path")
    if not path:
        raise table.error("path", "is missing.", f'Say where the files are: path = "migrations/{name}".')
    return Module(
        name=name,
        path=table.file.parent / Path(path).expanduser(),
        schema=override.identifier("schema", "") or table.identifier("schema", "public"),
        depends_on=table.texts("depends_on"),
        out_of_order=table.choice("out_of_order", ("allow", "reject"), policy),
    )
