"""The migrations repository: a folder per module, with an optional ``module.toml``."""

from __future__ import annotations

import contextlib
import os
import re
import tomllib
from typing import TYPE_CHECKING

import msgspec
import structlog

from pgdbm.text import sentence

from ..api.common import ModuleProblem, ModuleSettings
from ..api.msgspec_errors import path_and_reason, unknown_field
from ..errors import did_you_mean
from .modules import MODULE_FILE, Module
from .settings import MODULE_NAME, CheckedSettings, SettingError, check_schema, checked

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

# Settings are flat. tomllib's time and memory are quadratic in the dots of a key, and it recurses into nested values.
_MOST_BYTES = 65_536
_MOST_DOTS = 1_000

_TOML_PLACE = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)")

logger = structlog.get_logger("pgdbm_service")


class RepositoryError(Exception):
    """The migrations repository cannot be read. The text is the reason."""


def read_repository(repo: Path, *, may_be_missing: bool = False) -> list[Module]:
    """The modules in ``repo``, by name; hidden folders and plain files are ignored.

    Raises:
        RepositoryError: it is not a folder, or cannot be read. With ``may_be_missing`` there need not be one.
    """
    # Not resolved: git-sync replaces the folder behind a symbolic link.
    root = repo.absolute()
    try:
        folders = [entry for entry in root.iterdir() if not entry.name.startswith(".") and _is_folder(entry)]
    except OSError as error:
        if may_be_missing and isinstance(error, FileNotFoundError) and not root.is_symlink():
            return []
        raise RepositoryError(_reason_of(root, error)) from None
    modules = [_read_module(folder) for folder in sorted(folders)]
    for module in modules:
        if module.problem is not None:
            logger.warning("module invalid", module=module.name, problem=module.problem.detail)
    return modules


def require_readable(folder: Path) -> None:
    """Raise RepositoryError if the repository that the module's ``folder`` is in cannot be read."""
    try:
        os.scandir(folder.parent).close()
    except OSError as error:
        raise RepositoryError(_reason_of(folder.parent, error)) from None


def _is_folder(entry: Path) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # Either it is a link to where nothing may be read, an invalid module; or nothing here may be, which raises.
        entry.lstat()
        return True


def _reason_of(root: Path, error: OSError) -> str:
    start = f"PGDBM_MIGRATIONS_REPO: {root}"
    if isinstance(error, FileNotFoundError):
        if root.is_symlink():
            return f"{start} is a symbolic link to {root.readlink()}, which does not exist."
        return f"PGDBM_MIGRATIONS_REPO: there is no folder {root}. Is it mounted?"
    if isinstance(error, NotADirectoryError):
        return f"{start} is not a folder."
    return f"{start} cannot be read: {error.strerror}."


def repository_warnings(repo: Path, modules: Collection[Module]) -> list[str]:
    """Why the repository ``repo`` has no modules; None if it has some."""
    if modules:
        return []
    if not repo.is_dir():
        return [f"PGDBM_MIGRATIONS_REPO: there is no folder {repo.absolute()}. Is it mounted?"]
    with contextlib.suppress(OSError):
        return _nothing_in(repo)
    return []


def _nothing_in(repo: Path) -> list[str]:
    loose = any(entry.suffix == ".sql" for entry in repo.iterdir())
    what = "has *.sql files but no modules: each module is a folder in it" if loose else "contains no module"
    return [f"PGDBM_MIGRATIONS_REPO: the folder {repo.absolute()} {what}. Is the right folder mounted?"]


def read_settings_file(text: str, where: str) -> CheckedSettings | ModuleProblem:
    """The settings in the ``text`` of a module.toml; ``where`` is its name in messages.

    Parsing a large file may take a second.
    """
    if len(text.encode(errors="surrogatepass")) > _MOST_BYTES:
        return _too_large(where)
    for line, content in enumerate(text.split("\n"), 1):
        if content.count(".") > _MOST_DOTS:
            detail = f"{where}:{line}: a line may have at most {_MOST_DOTS} dots."
            return ModuleProblem(detail=detail, filename=MODULE_FILE, line=line)
    try:
        settings = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return _not_toml(where, error)
    except ValueError:
        # Python limits the number of digits of an integer.
        return ModuleProblem(detail=f"{where}: an integer in it has too many digits.", filename=MODULE_FILE)
    except RecursionError:
        return ModuleProblem(detail=f"{where}: its values are nested too deeply.", filename=MODULE_FILE)
    try:
        return checked(msgspec.convert(settings, ModuleSettings))
    except msgspec.ValidationError as error:
        return _invalid_value(where, error, text)
    except SettingError as error:
        line_of_key = _line_of(error.key, text)
        return ModuleProblem(
            detail=f"{where}{_at(line_of_key)}: {error.key}: {error.reason}.",
            filename=MODULE_FILE,
            key=error.key,
            line=line_of_key,
            hint=error.hint,
        )


def _read_module(folder: Path) -> Module:
    name = folder.name
    try:
        is_empty = not any(entry.suffix == ".sql" for entry in folder.iterdir())
    except OSError as error:
        return _invalid(Module(name=name, folder=folder), f"The folder {name} cannot be read: {error.strerror}.")
    module = Module(name=name, folder=folder, is_empty=is_empty)
    if not MODULE_NAME.match(name):
        return _invalid(
            module,
            f"{name!r} cannot be the name of a module: use up to 100 letters, digits, underscores, dots and hyphens.",
        )
    if not folder.resolve().is_relative_to(folder.parent.resolve()):
        return _invalid(module, f"{name} is a symbolic link to a folder outside the migrations repository.")
    where = f"{name}/{MODULE_FILE}"
    try:
        raw = _read_settings(folder)
        text = "" if len(raw) > _MOST_BYTES else raw.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = "not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
        return _invalid(module, f"{where} cannot be read: {reason}.", filename=MODULE_FILE)
    settings = _too_large(where) if len(raw) > _MOST_BYTES else read_settings_file(text, where)
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
                hint=f'Set the schema: schema = "…" in {where}.',
            )
    return msgspec.structs.replace(module, settings=settings)


def _read_settings(folder: Path) -> bytes:
    try:
        with (folder / MODULE_FILE).open("rb") as file:
            return file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        return b""


def _invalid(
    module: Module, detail: str, *, filename: str | None = None, key: str | None = None, hint: str | None = None
) -> Module:
    problem = ModuleProblem(detail=detail, filename=filename, key=key, hint=hint)
    return msgspec.structs.replace(module, problem=problem)


def _too_large(where: str) -> ModuleProblem:
    return ModuleProblem(detail=f"{where}: it may have at most {_MOST_BYTES} bytes.", filename=MODULE_FILE)


def _not_toml(where: str, error: tomllib.TOMLDecodeError) -> ModuleProblem:
    place = _TOML_PLACE.search(str(error))
    line, column = (int(place[1]), int(place[2])) if place and place[1] else (None, None)
    at = f":{line}:{column}" if line else ""
    reason = _TOML_PLACE.sub("", str(error))
    return ModuleProblem(
        detail=sentence(f"{where}{at}: not TOML: {reason}"), filename=MODULE_FILE, line=line, column=column
    )


def _invalid_value(where: str, error: msgspec.ValidationError, text: str) -> ModuleProblem:
    unknown = unknown_field(str(error))
    path, reason = path_and_reason(error)
    key = path if unknown is None else unknown
    if unknown is not None:
        reason = "there is no such key"
    line = _line_of(re.split(r"[.\[]", key)[0], text)
    return ModuleProblem(
        detail=sentence(f"{where}{_at(line)}: {key}: {reason}"),
        filename=MODULE_FILE,
        key=key,
        line=line,
        hint=did_you_mean(key, ModuleSettings.__struct_fields__) if unknown is not None else None,
    )


def _at(line: int | None) -> str:
    return f":{line}" if line else ""


def _line_of(key: str, text: str) -> int | None:
    match = re.search(rf"^[ \t]*[\"']?{re.escape(key)}[\"']?[ \t]*=", text, re.MULTILINE)
    return text.count("\n", 0, match.start()) + 1 if match else None
