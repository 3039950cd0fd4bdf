"""The migrations repository: a folder per module, with an optional ``module.toml``."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

import msgspec
import structlog

from .errors import spelt_alike
from .module_settings import MODULE_NAME, CheckedSettings, SettingError, check_schema, checked
from .registry import MODULE_FILE, Module
from .structs import ModuleProblem, ModuleSettings

if TYPE_CHECKING:
    from pathlib import Path

_TOML_PLACE = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)")
_UNKNOWN_FIELD = re.compile(r"unknown field `([^`]*)`")
_PATH = re.compile(r" - at `\$\.?([^`]*)`")

logger = structlog.get_logger("pgdbm_service")


def read_repository(repo: Path) -> list[Module]:
    """The modules in ``repo``, by name; hidden folders and plain files are passed over."""
    if not repo.is_dir():
        logger.warning("no migrations repository", folder=str(repo))
        return []
    root = repo.resolve()
    folders = [entry for entry in root.iterdir() if not entry.name.startswith(".") and entry.is_dir()]
    modules = [_read_module(root, folder) for folder in sorted(folders)]
    for module in modules:
        if module.problem is not None:
            logger.warning("module invalid", module=module.name, problem=module.problem.detail)
    return modules


def read_settings_file(text: str, where: str) -> CheckedSettings | ModuleProblem:
    """The settings in the ``text`` of a module.toml, which messages call ``where``."""
    try:
        return checked(msgspec.convert(tomllib.loads(text), ModuleSettings))
    except tomllib.TOMLDecodeError as error:
        return _not_toml(where, error)
    except msgspec.ValidationError as error:
        return _invalid_value(where, error, text)
    except SettingError as error:
        line = _line_of(error.key, text)
        return ModuleProblem(
            detail=f"{where}{_at(line)}: {error.key}: {error.reason}.",
            filename=MODULE_FILE,
            key=error.key,
            line=line,
            hint=error.hint,
        )


def _read_module(root: Path, folder: Path) -> Module:
    name = folder.name
    module = Module(name=name, folder=folder)
    if not MODULE_NAME.match(name):
        return _invalid(
            module,
            f"{name!r} cannot be the name of a module: use up to 100 letters, digits, underscores, dots and hyphens.",
        )
    if not folder.resolve().is_relative_to(root):
        return _invalid(module, f"{name} is a link that leads out of the migrations repository.")
    where = f"{name}/{MODULE_FILE}"
    try:
        text = (folder / MODULE_FILE).read_bytes().decode("utf-8")
    except FileNotFoundError:
        text = ""
    except (OSError, UnicodeDecodeError) as error:
        reason = "not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
        return _invalid(module, f"{where} cannot be read: {reason}.", filename=MODULE_FILE)
    settings = read_settings_file(text, where)
    if isinstance(settings, ModuleProblem):
        return msgspec.structs.replace(module, problem=settings)
    if settings.schemas is None:
        try:
            check_schema(name)
        except SettingError as error:
            return _invalid(
                module,
                f"{where}: {error.reason}.",
                filename=MODULE_FILE,
                key=error.key,
                hint=f'Name one: schema = "…" in {where}.',
            )
    return msgspec.structs.replace(module, settings=settings)


def _invalid(
    module: Module, detail: str, *, filename: str | None = None, key: str | None = None, hint: str | None = None
) -> Module:
    problem = ModuleProblem(detail=detail, filename=filename, key=key, hint=hint)
    return msgspec.structs.replace(module, problem=problem)


def _not_toml(where: str, error: tomllib.TOMLDecodeError) -> ModuleProblem:
    place = _TOML_PLACE.search(str(error))
    line, column = (int(place[1]), int(place[2])) if place and place[1] else (None, None)
    at = f":{line}:{column}" if line else ""
    reason = _TOML_PLACE.sub("", str(error))
    return ModuleProblem(detail=f"{where}{at}: not TOML: {reason}.", filename=MODULE_FILE, line=line, column=column)


def _invalid_value(where: str, error: msgspec.ValidationError, text: str) -> ModuleProblem:
    unknown = _UNKNOWN_FIELD.search(str(error))
    path = _PATH.search(str(error))
    key = unknown[1] if unknown else path[1] if path else ""
    reason = "there is no such key" if unknown else _PATH.sub("", str(error)).replace("`", "")
    line = _line_of(re.split(r"[.\[]", key)[0], text)
    return ModuleProblem(
        detail=f"{where}{_at(line)}: {key}: {reason}.",
        filename=MODULE_FILE,
        key=key,
        line=line,
        hint=spelt_alike(key, ModuleSettings.__struct_fields__) if unknown else None,
    )


def _at(line: int | None) -> str:
    return f":{line}" if line else ""


def _line_of(key: str, text: str) -> int | None:
    match = re.search(rf"^[ \t]*[\"']?{re.escape(key)}[\"']?[ \t]*=", text, re.MULTILINE)
    return text.count("\n", 0, match.start()) + 1 if match else None
