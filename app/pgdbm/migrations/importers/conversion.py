"""Converts the files of another tool."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import MigrationError, MigrationFileError
from ..sources.migration import check_versions, in_order, read_migration
from ..sources.names import is_migration_name
from .tools import tool_of

if TYPE_CHECKING:
    import os

    from .rewrite import Converted
    from .tools import ToolName


@dataclass(frozen=True, slots=True)
class Conversion:
    """What was written: names in the new folder, and notes about what to check."""

    written: tuple[str, ...]
    notes: tuple[str, ...]


def convert(tool: ToolName, folder: str | os.PathLike[str], destination: str | os.PathLike[str]) -> Conversion:
    """Write the migrations of ``tool`` in ``folder`` into ``destination`` as files for pgdbm.

    ``NNN_name.sql`` is the migration, ``NNN_name.down.sql`` its down migration. ``folder`` and its subfolders are only
    read. Nothing is overwritten; an existing file with the same content is accepted.

    Raises:
        MigrationFileError: a file is not UTF-8, the name of a new one has a slash, or two have the same version.
        MigrationError: the folder does not exist, or has no file of the tool; or a file exists with different content.
    """
    place, target = Path(folder), Path(destination)
    converted = tool_of(tool).convert(_texts(place))
    if not converted.files:
        raise MigrationError(f"There are no migrations of {tool} in {place}.")
    _check(converted)
    taken = [name for name, text in converted.files.items() if _differs(target / name, text)]
    if taken:
        raise MigrationError(
            f"{target / taken[0]} already exists, with different content. Choose an empty folder.", taken[0]
        )
    target.mkdir(parents=True, exist_ok=True)
    for name, text in converted.files.items():
        (target / name).write_bytes(text.encode())
    return Conversion(tuple(converted.files), tuple(converted.notes))


def _texts(folder: Path) -> dict[str, str]:
    """The text files below ``folder``, by relative path, in the order of the paths."""
    if not folder.is_dir():
        raise MigrationError(f"There is no folder {folder}.")
    texts: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or path.name.startswith("."):
            continue
        if path.suffix not in (".sql", ".conf", ".plan"):
            texts[name] = ""
            continue
        try:
            texts[name] = path.read_bytes().decode().removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            raise MigrationFileError(f"{name}: not UTF-8", name, hint="Save the file as UTF-8.") from error
    return texts


def _check(converted: Converted) -> None:
    """Checks pgdbm's rules for a folder: plain names, no empty file, no duplicate version."""
    for name in converted.files:
        # For some tools, the names come from a line of an export.
        if name != Path(name).name:
            raise MigrationFileError(
                f"{name}: the name of a file cannot have a slash", name, hint="Rename the migration in the export."
            )
    names = filter(is_migration_name, converted.files)
    migrations = in_order(read_migration(name, converted.files[name].encode()) for name in names)
    check_versions(migrations, converted.files.keys())


def _differs(path: Path, text: str) -> bool:
    return path.exists() and path.read_bytes() != text.encode()
