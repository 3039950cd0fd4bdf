"""Reads ``pgdbm.toml``: the modules, the folders of their files, and the database.

Environment variables are expanded only in values that are used: in the URL when a command connects, and never in the
values of another environment.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..migrations.results import BLOCKED, PlanLimits, bytes_of
from ..text import sentence
from .errors import ConfigError
from .project import ModuleConfig, Project
from .toml import TomlTable, parse, suggest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..migrations.results import OutOfOrder

_LONGEST_MODULE = 100
_OUT_OF_ORDER: tuple[OutOfOrder, ...] = ("allow", "reject")
_FINDINGS: tuple[Literal["allow", "refuse"], ...] = ("allow", "refuse")


def load(file: Path, environment: str | None = None) -> Project:
    """The project in ``file``, with the overrides of ``environment``.

    Raises:
        ConfigError: the file is invalid; has the key, or the line if it is not valid TOML.
    """
    top = TomlTable(file, "", parse(file))
    project, database = top.table("project"), top.table("database")
    chosen = TomlTable(file, "", {})
    environments = top.table("environments")
    for name in environments.values:
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
    out_of_order: OutOfOrder = project.choice("out_of_order", _OUT_OF_ORDER, "allow")
    tables = top.table("modules")
    for name in overridden.values:
        if name not in tables.values:
            raise overridden.error(name, f"there is no module {name!r}.", suggest(name, tables.values, "module"))
    modules = tuple(_module(name, tables.table(name), overridden.table(name), out_of_order) for name in tables.values)
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
    project.refuse_unknown("name", "out_of_order", "migrations_table", "lock_timeout", "lock_wait_timeout")
    database.refuse_unknown("url", "pooler")
    top.refuse_unknown("project", "database", "modules", "environments")
    return loaded._replace(modules=in_order(modules, file))


def in_order(modules: Iterable[ModuleConfig], file: Path | None) -> tuple[ModuleConfig, ...]:
    """``modules``, each after the modules that it depends on, otherwise in the order of the file.

    Raises:
        ConfigError: a module depends on one that does not exist, or the dependencies contain a cycle.
    """
    from graphlib import CycleError, TopologicalSorter  # imported lazily: --dir needs no order

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
        cycle = " -> ".join(reversed(error.args[1]))
        raise ConfigError(
            f"the dependencies contain a cycle: {cycle}.",
            file=file,
            key=f"modules.{error.args[1][0]}.depends_on",
            hint="Remove one of them.",
        ) from error
    position = {name: number for number, name in enumerate(by_name)}
    ordered: list[ModuleConfig] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=position.__getitem__)
        ordered += (by_name[name] for name in ready)
        sorter.done(*ready)
    return tuple(ordered)


def _check_environment(table: TomlTable) -> None:
    table.refuse_unknown("database", "modules")
    database = table.table("database")
    database.refuse_unknown("url", "pooler")
    database.raw("url")
    modules = table.table("modules")
    for name in modules.values:
        modules.table(name).refuse_unknown("schema")
        modules.table(name).raw("schema")


def _module(name: str, table: TomlTable, override: TomlTable, out_of_order: OutOfOrder) -> ModuleConfig:
    table.refuse_unknown("path", "schema", "depends_on", "out_of_order", "max_rewrite", "max_blocked", "findings")
    if not 0 < len(name) <= _LONGEST_MODULE:
        raise table.error("path", f"the name of the module must have 1 to {_LONGEST_MODULE} characters.")
    path = table.text("path")
    if not path:
        raise table.error("path", "is missing.", f'Name the folder of the files: path = "migrations/{name}".')
    return ModuleConfig(
        name=name,
        path=table.file.parent / Path(path).expanduser(),
        schema=override.identifier("schema", "") or table.identifier("schema", "public"),
        depends_on=table.texts("depends_on"),
        out_of_order=table.choice("out_of_order", _OUT_OF_ORDER, out_of_order),
        limits=_limits(table),
    )


def _limits(table: TomlTable) -> PlanLimits:
    size = table.text("max_rewrite")
    try:
        max_rewrite = None if size is None else bytes_of(size)
    except ValueError as error:
        raise table.error("max_rewrite", sentence(str(error))) from None
    return PlanLimits(
        max_rewrite,
        table.choice("max_blocked", BLOCKED, "reads and writes"),
        table.choice("findings", _FINDINGS, "allow"),
    )
