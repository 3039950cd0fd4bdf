"""The modules in the migrations repository, and the registered ones.

An invalid module stays in the registry with its problem; the others are served.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from graphlib import TopologicalSorter
from heapq import heappop, heappush
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from ..api.common import ModuleProblem
from ..database.service_schema import SERVICE_SCHEMA
from ..errors import ServiceError, did_you_mean
from .bundles import Bundle
from .settings import CheckedSettings

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from pgdbm.migrations.results import OutOfOrder

MODULE_FILE = "module.toml"

NOTHING_REGISTERED = "No module is registered."

_IN_NO_PATTERN = frozenset({SERVICE_SCHEMA, "information_schema"})


class Module(msgspec.Struct, frozen=True, kw_only=True):
    """A module. With a ``problem`` it is listed, but every operation on it is refused.

    Its files are in ``folder`` or, for a registered module or a folder whose files were read and must not change, in
    ``bundle``. ``is_empty``: its folder contains no file that could be a migration.
    """

    name: str
    folder: Path | None = None
    bundle: Bundle | None = None
    settings: CheckedSettings = CheckedSettings()
    source: Literal["repo", "registered"] = "repo"
    problem: ModuleProblem | None = None
    is_empty: bool = False

    @property
    def schemas(self) -> tuple[str, ...] | None:
        """Its schemas, in the order in which they are migrated; None for a pattern."""
        schemas = self.settings.schemas
        if schemas is None:
            return (self.name,)
        return None if isinstance(schemas, str) else schemas

    @property
    def pattern(self) -> str | None:
        """The pattern with ``*`` and ``?`` that its schemas match; None without one."""
        return self.settings.schemas if isinstance(self.settings.schemas, str) else None

    @property
    def schema(self) -> str:
        """The first of its schemas, or the pattern."""
        return self.pattern or (self.schemas or (self.name,))[0]

    @property
    def depends_on(self) -> tuple[str, ...]:
        """Like ``module`` or ``module@version``."""
        return self.settings.depends_on

    @property
    def needs(self) -> dict[str, str | None]:
        """The modules that it depends on, each with the version that it needs; None: any."""
        return {name: version or None for name, _, version in (one.partition("@") for one in self.depends_on)}

    @property
    def description(self) -> str:
        return self.settings.description

    @property
    def out_of_order(self) -> OutOfOrder:
        return self.settings.out_of_order

    @property
    def role(self) -> str | None:
        """The database role that its SQL runs as; None: the service's database user."""
        return self.settings.role

    def is_for(self, schema: str) -> bool:
        """Whether ``schema`` is one of its schemas, or would be if it existed."""
        if self.pattern is not None:
            return fnmatchcase(schema, self.pattern) and not schema.startswith("pg_") and schema not in _IN_NO_PATTERN
        return schema in (self.schemas or ())


class Registry:
    """The modules by name. A registered module hides a folder with the same name.

    ``is_complete`` is False until the registered modules have been read for the first time.
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self._repo: dict[str, Module] = {}
        self._registered: dict[str, Module] = {}
        self._modules: dict[str, Module] = {}
        self.is_complete = False
        # Names and patterns of modules that must exist before anything is migrated.
        self.required: tuple[str, ...] = ()
        # What the repository lacks.
        self.repo_warnings: tuple[str, ...] = ()
        # Why the repository cannot be read: the modules are those that were read last.
        self.repo_problem: str | None = None
        self.replace_repo(modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    @property
    def repo(self) -> Mapping[str, Module]:
        """The modules in the repository, including hidden ones."""
        return self._repo

    @property
    def registered(self) -> Mapping[str, Module]:
        return self._registered

    def replace_repo(self, modules: Iterable[Module], warnings: Iterable[str] = ()) -> None:
        """Replace the modules of the repository by ``modules``."""
        self.repo_warnings = tuple(warnings)
        self.repo_problem = None
        self._repo = {module.name: module for module in modules}
        self._combine()

    def replace_registered(self, modules: Iterable[Module]) -> None:
        """Replace the registered modules by ``modules``."""
        self._registered = {module.name: module for module in modules}
        self.is_complete = True
        self._combine()

    def with_registered(self, module: Module) -> Registry:
        """This registry with ``module`` registered, too."""
        changed = Registry(self._repo.values())
        changed.replace_registered((self._registered | {module.name: module}).values())
        return changed

    @property
    def warnings(self) -> list[str]:
        """Why there are no modules, if there are none; and the modules without files, which have nothing to apply."""
        empty = [without_files(module.name) for module in self if module.is_empty]
        if self.repo_problem is not None:
            return [self.repo_problem, *empty]
        return empty if self._modules else [*self.repo_warnings, NOTHING_REGISTERED]

    @property
    def missing(self) -> list[str]:
        """The names and patterns among ``required`` that no valid module with files matches."""
        there = [module.name for module in self if module.problem is None and not module.is_empty]
        return [one for one in self.required if not any(fnmatchcase(name, one) for name in there)]

    def find(self, name: str) -> Module | None:
        return self._modules.get(name)

    def hint(self, name: str) -> str | None:
        return did_you_mean(name, self._modules)

    def names_in(self, schema: str) -> list[str]:
        """The names of the modules of ``schema``."""
        return [module.name for module in self if module.problem is None and module.is_for(schema)]

    def cycle(self, name: str) -> list[str]:
        """The names in a dependency cycle through ``name``, which is both first and last; empty if there is none."""
        return _cycle_through(self._modules[name], self._modules)

    def in_order(self, names: Collection[str] | None = None) -> list[Module]:
        """``names`` and their dependencies, or all modules; each after the modules that it depends on, otherwise by
        name.

        For all modules, except those in :meth:`left_out`.

        Raises:
            ServiceError: module_invalid, if one of them, or one of the folders in the repository, has a problem.
        """
        chosen = self._closure(names) if names is not None else set(self._modules) - self.left_out().keys()
        for name in sorted(chosen):
            require_valid(self._modules[name])
        sorter = TopologicalSorter({name: self._modules[name].needs for name in chosen})
        sorter.prepare()
        ordered: list[Module] = []
        ready: list[str] = []
        while sorter.is_active():
            for name in sorter.get_ready():
                heappush(ready, name)
            ordered.append(self._modules[heappop(ready)])
            sorter.done(ordered[-1].name)
        return ordered

    def left_out(self) -> dict[str, Module]:
        """The registered modules that cannot be migrated, each with the invalid module: itself, or one that it needs.

        An invalid module of one team does not prevent other teams from migrating. A folder in the repository is the
        operator's.

        Raises:
            ServiceError: module_invalid, if a folder in the repository, or one that it needs, has a problem.
        """
        found: dict[str, Module] = {}
        for module in self:
            invalid = [one for one in map(self.find, sorted(self._closure([module.name]))) if one and one.problem]
            if invalid and module.source == "repo":
                require_valid(module if module.problem is not None else invalid[0])
            if invalid:
                found[module.name] = module if module.problem is not None else invalid[0]
        return found

    def _closure(self, names: Iterable[str]) -> set[str]:
        """``names`` and all existing modules that they depend on."""
        found: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            module = self._modules.get(name)
            if module is not None and name not in found:
                found.add(name)
                waiting += module.needs
        return found

    def _combine(self) -> None:
        by_name = dict(sorted((self._repo | self._registered).items()))
        self._modules = {name: _checked_dependencies(module, by_name) for name, module in by_name.items()}


def missing_modules(registry: Registry) -> ServiceError:
    """The error for modules in PGDBM_REQUIRE_MODULES that are missing."""
    missing = registry.missing
    reasons = " ".join(registry.warnings)
    return ServiceError(
        "modules_missing",
        f"PGDBM_REQUIRE_MODULES: there is no module {', '.join(missing)} with migration files. {reasons}".rstrip(),
        missing=missing,
    )


def require_repository(registry: Registry) -> None:
    """Raise a ServiceError (repository_unreadable) if the migrations repository cannot be read."""
    if registry.repo_problem is not None:
        raise repository_unreadable(registry.repo_problem)


def repository_unreadable(reason: str, module: str | None = None) -> ServiceError:
    """The error for a migrations repository that cannot be read."""
    return ServiceError("repository_unreadable", reason, module=module)


def without_files(name: str) -> str:
    """The warning about a module without files."""
    return f"Module {name} has no migration files (*.sql): there is nothing to apply."


def require_valid(module: Module) -> None:
    """Raise a ServiceError (module_invalid) if ``module`` cannot be used."""
    if module.problem is not None:
        fields = msgspec.structs.asdict(module.problem)
        raise ServiceError(fields.pop("code"), fields.pop("detail"), module=module.name, **fields)


def _checked_dependencies(module: Module, modules: Mapping[str, Module]) -> Module:
    if module.problem is not None:
        return module
    for name in module.needs:
        if name not in modules:
            return _invalid(
                module, f"depends_on names the module {name!r}, which does not exist.", did_you_mean(name, modules)
            )
    cycle = _cycle_through(module, modules)
    if cycle:
        return _invalid(module, f"depends_on forms a cycle: {' → '.join(cycle)}.")
    return module


def _invalid(module: Module, reason: str, hint: str | None = None) -> Module:
    filename = MODULE_FILE if module.source == "repo" else None
    detail = f"{module.name}/{MODULE_FILE}: {reason}" if filename else f"{module.name}: {reason}"
    problem = ModuleProblem(detail=detail, filename=filename, key="depends_on", hint=hint)
    return msgspec.structs.replace(module, problem=problem)


def _cycle_through(start: Module, modules: Mapping[str, Module]) -> list[str]:
    seen: set[str] = set()
    paths = [[start.name]]
    while paths:
        path = paths.pop()
        for name in modules[path[-1]].needs:
            if name == start.name:
                return [*path, name]
            if name in modules and name not in seen:
                seen.add(name)
                paths.append([*path, name])
    return []
