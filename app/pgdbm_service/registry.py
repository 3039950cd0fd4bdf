"""The modules of the migrations repository: a folder each, with an optional ``module.toml``.

A module that is not right stays in the registry with its problem: it must not keep the others from being served.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
import structlog

from pgdbm.core.identifiers import is_identifier

from .errors import Problem, spelt_alike

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MODULE_FILE = "module.toml"

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}\Z")
_TOML_PLACE = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)")
_UNKNOWN_FIELD = re.compile(r"unknown field `([^`]*)`")
_PATH = re.compile(r" - at `\$\.?([^`]*)`")

logger = structlog.get_logger("pgdbm_service")


class ModuleProblem(msgspec.Struct, frozen=True, kw_only=True):
    """Why a module cannot be used. ``line`` and ``column`` count from 1 in ``filename``."""

    detail: str
    code: str = "module_invalid"
    filename: str | None = None
    key: str | None = None
    line: int | None = None
    column: int | None = None
    hint: str | None = None


class ModuleFile(msgspec.Struct, forbid_unknown_fields=True):
    """``module.toml``: ``schema`` is the module's name unless given; ``depends_on`` names modules."""

    schema: str | None = None
    depends_on: list[str] = []
    description: str = ""
    out_of_order: Literal["allow", "reject"] = "reject"


class Module(msgspec.Struct, frozen=True, kw_only=True):
    """A registered module. With a ``problem`` it is listed, and nothing can be done with it."""

    name: str
    folder: Path
    schema: str
    depends_on: tuple[str, ...] = ()
    description: str = ""
    out_of_order: Literal["allow", "reject"] = "reject"
    problem: ModuleProblem | None = None


class Registry:
    """The modules by name, read once."""

    def __init__(self, modules: Iterable[Module]) -> None:
        by_name = {module.name: module for module in sorted(modules, key=lambda module: module.name)}
        self._modules = {name: _checked_dependencies(module, by_name) for name, module in by_name.items()}

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    def find(self, name: str) -> Module | None:
        return self._modules.get(name)

    def hint(self, name: str) -> str | None:
        return spelt_alike(name, self._modules)

    def names_by_schema(self) -> dict[str, list[str]]:
        names: dict[str, list[str]] = {}
        for module in self:
            if module.problem is None:
                names.setdefault(module.schema, []).append(module.name)
        return names

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
                for name in sorted(module.depends_on):
                    add(self._modules[name])
                ordered[module.name] = module

        for module in self:
            add(module)
        return list(ordered.values())


def require_valid(module: Module) -> None:
    """Raise a Problem (module_invalid) if ``module`` cannot be used."""
    if module.problem is not None:
        fields = msgspec.structs.asdict(module.problem)
        raise Problem(fields.pop("code"), fields.pop("detail"), module=module.name, **fields)


def read_registry(repo: Path) -> Registry:
    """The modules in ``repo``; hidden folders and plain files are passed over."""
    if not repo.is_dir():
        logger.warning("no migrations repository", folder=str(repo))
        return Registry(())
    root = repo.resolve()
    folders = [entry for entry in root.iterdir() if not entry.name.startswith(".") and entry.is_dir()]
    registry = Registry(_read_module(root, folder) for folder in folders)
    for module in registry:
        if module.problem is not None:
            logger.warning("module invalid", module=module.name, problem=module.problem.detail)
    return registry


def _read_module(root: Path, folder: Path) -> Module:
    name = folder.name
    fallback = Module(name=name, folder=folder, schema=name)
    if not _NAME.match(name):
        return _invalid(
            fallback,
            f"{name!r} cannot be the name of a module: use up to 100 letters, digits, underscores, dots and hyphens.",
        )
    if not folder.resolve().is_relative_to(root):
        return _invalid(fallback, f"{name} is a link that leads out of the migrations repository.")
    try:
        text = (folder / MODULE_FILE).read_bytes().decode("utf-8")
    except FileNotFoundError:
        text = ""
    except (OSError, UnicodeDecodeError) as error:
        reason = "not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
        return _invalid(fallback, f"{name}/{MODULE_FILE} cannot be read: {reason}.", filename=MODULE_FILE)
    try:
        data = tomllib.loads(text)
        file = msgspec.convert(data, ModuleFile)
    except tomllib.TOMLDecodeError as error:
        return _invalid_toml(fallback, error)
    except msgspec.ValidationError as error:
        return _invalid_value(fallback, error, text)
    schema = file.schema if file.schema is not None else name
    if not is_identifier(schema):
        return _invalid(
            fallback,
            f"{name}/{MODULE_FILE}: {schema!r} cannot be the name of a schema: use letters, digits and underscores, "
            f"at most 63 of them, and no digit in front.",
            filename=MODULE_FILE,
            key="schema",
            line=_line_of("schema", text),
            hint=None if file.schema is not None else f'Name one: schema = "…" in {name}/{MODULE_FILE}.',
        )
    return Module(
        name=name,
        folder=folder,
        schema=schema,
        depends_on=tuple(file.depends_on),
        description=file.description,
        out_of_order=file.out_of_order,
    )


def _invalid(
    module: Module,
    detail: str,
    *,
    filename: str | None = None,
    key: str | None = None,
    line: int | None = None,
    column: int | None = None,
    hint: str | None = None,
) -> Module:
    problem = ModuleProblem(detail=detail, filename=filename, key=key, line=line, column=column, hint=hint)
    return msgspec.structs.replace(module, problem=problem)


def _invalid_toml(module: Module, error: tomllib.TOMLDecodeError) -> Module:
    place = _TOML_PLACE.search(str(error))
    line, column = (int(place[1]), int(place[2])) if place and place[1] else (None, None)
    where = f":{line}:{column}" if line else ""
    reason = _TOML_PLACE.sub("", str(error))
    return _invalid(
        module,
        f"{module.name}/{MODULE_FILE}{where}: not TOML: {reason}.",
        filename=MODULE_FILE,
        line=line,
        column=column,
    )


def _invalid_value(module: Module, error: msgspec.ValidationError, text: str) -> Module:
    unknown = _UNKNOWN_FIELD.search(str(error))
    path = _PATH.search(str(error))
    key = unknown[1] if unknown else path[1] if path else ""
    reason = "there is no such key" if unknown else _PATH.sub("", str(error)).replace("`", "")
    line = _line_of(re.split(r"[.\[]", key)[0], text)
    where = f":{line}" if line else ""
    return _invalid(
        module,
        f"{module.name}/{MODULE_FILE}{where}: {key}: {reason}.",
        filename=MODULE_FILE,
        key=key,
        line=line,
        hint=spelt_alike(key, ModuleFile.__struct_fields__) if unknown else None,
    )


def _line_of(key: str, text: str) -> int | None:
    match = re.search(rf"^[ \t]*[\"']?{re.escape(key)}[\"']?[ \t]*=", text, re.MULTILINE)
    return text.count("\n", 0, match.start()) + 1 if match else None


def _checked_dependencies(module: Module, modules: dict[str, Module]) -> Module:
    if module.problem is not None:
        return module
    for name in module.depends_on:
        if name not in modules:
            return _invalid(
                module,
                f"{module.name}/{MODULE_FILE}: depends_on names {name!r}, and there is no such module.",
                filename=MODULE_FILE,
                key="depends_on",
                hint=spelt_alike(name, modules),
            )
    circle = _way_back(module, modules)
    if circle:
        return _invalid(
            module,
            f"{module.name}/{MODULE_FILE}: the dependencies lead in a circle: {' → '.join(circle)}.",
            filename=MODULE_FILE,
            key="depends_on",
        )
    return module


def _way_back(start: Module, modules: dict[str, Module]) -> list[str]:
    """The names from ``start`` over its dependencies to itself; empty where there is no such way."""
    seen: set[str] = set()
    ways = [[start.name]]
    while ways:
        way = ways.pop()
        for name in modules[way[-1]].depends_on:
            if name == start.name:
                return [*way, name]
            if name in modules and name not in seen:
                seen.add(name)
                ways.append([*way, name])
    return []
