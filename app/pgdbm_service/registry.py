"""The modules that the service knows: those of the migrations repository, and those that were registered.

A module that is not right stays in the registry with its problem: it must not keep the others from being served.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from .bundles import Bundle
from .errors import Problem, spelt_alike
from .module_settings import CheckedSettings
from .own_schema import OWN_SCHEMA
from .structs import ModuleProblem, Policy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MODULE_FILE = "module.toml"

# What no pattern means.
_NEVER = frozenset({OWN_SCHEMA, "information_schema"})


class Module(msgspec.Struct, frozen=True, kw_only=True):
    """A module. With a ``problem`` it is listed, and nothing can be done with it.

    Its files are in ``folder``, or in ``bundle``: always so for a registered one, and where a folder's files were
    read to stay as they are.
    """

    name: str
    folder: Path | None = None
    bundle: Bundle | None = None
    settings: CheckedSettings = CheckedSettings()
    source: Literal["repo", "registered"] = "repo"
    problem: ModuleProblem | None = None

    @property
    def schemas(self) -> tuple[str, ...] | None:
        """The schemas it is for, in the order in which they are migrated; None where a pattern says."""
        schemas = self.settings.schemas
        if schemas is None:
            return (self.name,)
        return None if isinstance(schemas, str) else schemas

    @property
    def pattern(self) -> str | None:
        """Which schemas it is for, where a pattern with ``*`` and ``?`` says so."""
        return self.settings.schemas if isinstance(self.settings.schemas, str) else None

    @property
    def schema(self) -> str:
        """The first of its schemas, or the pattern: what a line in a log calls it."""
        return self.pattern or (self.schemas or (self.name,))[0]

    @property
    def depends_on(self) -> tuple[str, ...]:
        """As ``module`` or ``module@version``."""
        return self.settings.depends_on

    @property
    def needs(self) -> dict[str, str | None]:
        """The modules that it depends on, with the version that it needs of each, if it says so."""
        return {name: version or None for name, _, version in (one.partition("@") for one in self.depends_on)}

    @property
    def description(self) -> str:
        return self.settings.description

    @property
    def out_of_order(self) -> Policy:
        return self.settings.out_of_order

    @property
    def role(self) -> str | None:
        """The database role that its SQL runs as; None: the service's own."""
        return self.settings.role

    def is_for(self, schema: str) -> bool:
        """Whether ``schema`` is one of its schemas, or would be if it were there."""
        if self.pattern is not None:
            return fnmatchcase(schema, self.pattern) and not schema.startswith("pg_") and schema not in _NEVER
        return schema in (self.schemas or ())


class Registry:
    """The modules by name. A registered one hides a folder of the same name.

    ``is_complete`` is False until the registered modules have been read for the first time.
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self._repo: dict[str, Module] = {}
        self._registered: dict[str, Module] = {}
        self._modules: dict[str, Module] = {}
        self.is_complete = False
        self.replace_repo(modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    @property
    def repo(self) -> Mapping[str, Module]:
        """The modules of the repository, hidden ones too."""
        return self._repo

    @property
    def registered(self) -> Mapping[str, Module]:
        return self._registered

    def replace_repo(self, modules: Iterable[Module]) -> None:
        """From now on the repository has ``modules``, and no others."""
        self._repo = {module.name: module for module in modules}
        self._combine()

    def replace_registered(self, modules: Iterable[Module]) -> None:
        """From now on ``modules`` are registered, and no others."""
        self._registered = {module.name: module for module in modules}
        self.is_complete = True
        self._combine()

    def with_registered(self, module: Module) -> Registry:
        """What the registry would be with ``module`` registered too."""
        changed = Registry(self._repo.values())
        changed.replace_registered((self._registered | {module.name: module}).values())
        return changed

    def find(self, name: str) -> Module | None:
        return self._modules.get(name)

    def hint(self, name: str) -> str | None:
        return spelt_alike(name, self._modules)

    def names_in(self, schema: str) -> list[str]:
        """The modules that are for ``schema``."""
        return [module.name for module in self if module.problem is None and module.is_for(schema)]

    def circle(self, name: str) -> list[str]:
        """The names from ``name`` over its dependencies to itself; empty where they do not lead there."""
        return _way_back(self._modules[name], self._modules)

    def in_order(self) -> list[Module]:
        """Every module after those that it depends on, otherwise by name.

        Raises:
            Problem: module_invalid, if a module has a problem: nothing can be said about the whole then.
        """
        for module in self:
            require_valid(module)
        ordered: dict[str, Module] = {}

        def add(module: Module) -> None:
            if module.name not in ordered:
                for name in sorted(module.needs):
                    add(self._modules[name])
                ordered[module.name] = module

        for module in self:
            add(module)
        return list(ordered.values())

    def _combine(self) -> None:
        by_name = dict(sorted((self._repo | self._registered).items()))
        self._modules = {name: _checked_dependencies(module, by_name) for name, module in by_name.items()}


def require_valid(module: Module) -> None:
    """Raise a Problem (module_invalid) if ``module`` cannot be used."""
    if module.problem is not None:
        fields = msgspec.structs.asdict(module.problem)
        raise Problem(fields.pop("code"), fields.pop("detail"), module=module.name, **fields)


def _checked_dependencies(module: Module, modules: Mapping[str, Module]) -> Module:
    if module.problem is not None:
        return module
    for name in module.needs:
        if name not in modules:
            return _invalid(
                module, f"depends_on names {name!r}, and there is no such module.", spelt_alike(name, modules)
            )
    circle = _way_back(module, modules)
    if circle:
        return _invalid(module, f"the dependencies lead in a circle: {' → '.join(circle)}.")
    return module


def _invalid(module: Module, reason: str, hint: str | None = None) -> Module:
    filename = MODULE_FILE if module.source == "repo" else None
    detail = f"{module.name}/{MODULE_FILE}: {reason}" if filename else f"{module.name}: {reason}"
    problem = ModuleProblem(detail=detail, filename=filename, key="depends_on", hint=hint)
    return msgspec.structs.replace(module, problem=problem)


def _way_back(start: Module, modules: Mapping[str, Module]) -> list[str]:
    """The names from ``start`` over its dependencies to itself; empty where there is no such way."""
    seen: set[str] = set()
    ways = [[start.name]]
    while ways:
        way = ways.pop()
        for name in modules[way[-1]].needs:
            if name == start.name:
                return [*way, name]
            if name in modules and name not in seen:
                seen.add(name)
                ways.append([*way, name])
    return []
