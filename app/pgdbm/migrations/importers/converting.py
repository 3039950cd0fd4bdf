"""Writing files for our engine from those of another tool."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import MigrationError, MigrationFileError
from ..files import in_order, is_migration_name, read_migration
from ..plan import check_versions
from .tools import tool_of

if TYPE_CHECKING:
    import os

    from .rewriting import Converted
    from .tools import ToolName


@dataclass(frozen=True, slots=True)
class Conversion:
    """What was written: names in the new folder, and what to look at, in words."""

    written: tuple[str, ...]
    notes: tuple[str, ...]


def convert(tool: ToolName, folder: str | os.PathLike[str], destination: str | os.PathLike[str]) -> Conversion:
    """Write the migrations of ``tool`` in ``folder`` into ``destination`` as files that our engine runs.

    ``NNN_name.sql`` is the way forward, ``NNN_name.down.sql`` the way back. ``folder`` is read, with the folders
    below it, and left alone. Nothing is written over: a file that is there with the same content is fine.

    Raises:
        MigrationFileError: a file is no UTF-8, or two of the new ones have the same version.
        MigrationError: there is no such folder, nothing of the tool's is in it, or a file is there already, with other
            content.
    """
    place, target = Path(folder), Path(destination)
    converted = tool_of(tool).convert(_texts(place))
    if not converted.files:
        raise MigrationError(f"There are no migrations of {tool} in {place}.")
    _check(converted)
    taken = [name for name, text in converted.files.items() if _differs(target / name, text)]
    if taken:
        raise MigrationError(
            f"{target / taken[0]} exists already, with other content. Choose an empty folder.", taken[0]
        )
    target.mkdir(parents=True, exist_ok=True)
    for name, text in converted.files.items():
        (target / name).write_bytes(text.encode())
    return Conversion(tuple(converted.files), tuple(converted.notes))


def _texts(folder: Path) -> dict[str, str]:
    """Every file below ``folder`` that is text, by its path there, in the order of their paths."""
    if not folder.is_dir():
        raise MigrationError(f"There is no folder {folder}.")
    texts: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or path.name.startswith("."):
            continue
        if path.suffix not in (".sql", ".conf"):
            texts[name] = ""
            continue
        try:
            texts[name] = path.read_bytes().decode().removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            raise MigrationFileError(f"{name}: not UTF-8. Save the file as UTF-8.", name) from error
    return texts


def _check(converted: Converted) -> None:
    """Our own rules for a folder: no empty file, no version twice."""
    names = filter(is_migration_name, converted.files)
    migrations = in_order(read_migration(name, converted.files[name].encode()) for name in names)
    check_versions(migrations, converted.files.keys())


def _differs(path: Path, text: str) -> bool:
    return path.exists() and path.read_bytes() != text.encode()
