"""Where migrations come from: a folder, the resources of a package, or a mapping in memory."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol
from weakref import WeakValueDictionary

from ...core.lru import LRUCache
from ...errors import MigrationFileError
from .migration import Migration, in_order, migration_of_text, read_migration
from .names import down_name_of, is_migration_name, is_misspelt_suffix, is_other_code

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Sequence
    from importlib.resources.abc import Traversable

logger = logging.getLogger("pgdbm")

_SHOWN_NAMES = 3
_DEEPEST_FOLDER = 3
_SURROGATE = r"[\ud800-\udfff]"


class Source(Protocol):
    """A source of migrations."""

    @property
    def is_slow(self) -> bool:
        """Whether :meth:`collect` may take long, and should run in a thread."""
        ...

    def collect(self) -> tuple[Migration, ...]:
        """Every migration, in the order in which they apply. Raises MigrationFileError naming file and line."""
        ...

    def down_migration(self, filename: str) -> Migration | None:
        """The down migration ``NAME.down.sql`` of ``NAME.sql``, if it exists."""
        ...


def unreadable(place: str, error: OSError) -> MigrationFileError:
    """``error`` about a file, or the folder, at ``place``."""
    name = os.fspath(error.filename) if isinstance(error.filename, str | os.PathLike) else place
    hint = "Make it readable for this process's user." if isinstance(error, PermissionError) else None
    return MigrationFileError(f"{name} cannot be read: {error.strerror or error}", name, hint=hint)


def source_of(place: str | os.PathLike[str] | Traversable | Mapping[str, str | Migration] | OwnSource) -> Source:
    """The source for a value of ``migrations_path``; a source is returned as it is."""
    if isinstance(place, OwnSource):
        return place
    if isinstance(place, str | os.PathLike):
        return FolderSource(place)
    if isinstance(place, Mapping):
        return MemorySource(place)
    return ResourceSource(place)


class _Contents:
    """Files in memory, and the migrations among them, once they have been read."""

    def __init__(self, files: dict[str, str | Migration]) -> None:
        self.files = files
        self.ordered: tuple[Migration, ...] | None = None


class MemorySource:
    """Migrations given as {filename: content or migration}. Sources with the same files read them once."""

    is_slow = False
    _known: ClassVar[WeakValueDictionary[int, _Contents]] = WeakValueDictionary()

    def __init__(self, contents: Mapping[str, str | Migration]) -> None:
        files = dict(contents)
        # Hashing all contents takes longer than comparing them with those of the one source that they may equal.
        key = hash((frozenset(files), next(reversed(files.values()), None)))
        known = self._known.get(key)
        if known is None or known.files != files:
            known = self._known[key] = _Contents(files)
        self._shared = known

    @property
    def _contents(self) -> dict[str, str | Migration]:
        return self._shared.files

    def collect(self) -> tuple[Migration, ...]:
        if self._shared.ordered is None:
            self._shared.ordered = in_order(self._read(name) for name in self._contents if _is_chosen(name))
        return self._shared.ordered

    def down_migration(self, filename: str) -> Migration | None:
        name = down_name_of(filename)
        return self._read(name) if name in self._contents else None

    def _read(self, name: str) -> Migration:
        content = self._contents[name]
        if isinstance(content, Migration):
            return content
        if re.search(_SURROGATE, content) is None:
            return migration_of_text(name, content)
        # Invalid Unicode becomes invalid UTF-8, which is reported with its position.
        return read_migration(name, content.encode(errors="surrogatepass"))


class ResourceSource:
    """Migrations in a package: ``importlib.resources.files("mylib") / "migrations"``, even from a zip."""

    is_slow = True

    def __init__(self, folder: Traversable) -> None:
        self._folder = folder

    def collect(self) -> tuple[Migration, ...]:
        try:
            return self._collect()
        except OSError as error:
            raise unreadable(str(self._folder), error) from error

    def _collect(self) -> tuple[Migration, ...]:
        if not self._folder.is_dir():
            logger.warning("There is no migrations folder %s", self._folder)
            return ()
        entries = list(self._folder.iterdir())
        found = [entry for entry in entries if _is_chosen(entry.name) and entry.is_file()]
        if len(found) < len(entries):
            _check_others(str(self._folder), entries, has_files=bool(found))
        if not found:
            logger.warning("There are no migrations (*.sql) in %s", self._folder)
        return in_order(read_migration(entry.name, entry.read_bytes()) for entry in found)

    def down_migration(self, filename: str) -> Migration | None:
        entry = self._folder / down_name_of(filename)
        try:
            return read_migration(entry.name, entry.read_bytes()) if entry.is_file() else None
        except OSError as error:
            raise unreadable(str(entry), error) from error


_Signature = tuple[int, int, int, int]


class _Read(NamedTuple):
    """What was read from a folder, with the stats that show whether a file has changed; None for those too recent to
    show it."""

    files: dict[str, tuple[_Signature | None, Migration]]
    ordered: tuple[Migration, ...]


_PAUSE_S = 0.02
_USUAL_BYTES = 64 * 1024
# One call reads at least as many, except at the end of a file.
_MOST_BYTES = 1 << 30


class FolderSource:
    """Migrations in a folder. A file whose stat has not changed since this process read it is not read again."""

    _known: ClassVar[LRUCache[str, _Read]] = LRUCache(512)
    # A file may be written twice within one tick of the file system's clock, with equal stats, so a stat this recent
    # (nanoseconds) is not trusted.
    _settled_ns = 100_000_000

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder).absolute()

    @property
    def is_slow(self) -> bool:
        # Reading a known folder takes a stat per file, which costs less than using a thread.
        return str(self._folder) not in self._known

    def collect(self) -> tuple[Migration, ...]:
        return self._opened(self._collect)

    def read(self) -> tuple[Migration, ...]:
        """:meth:`collect`, for a process that does so once: nothing is kept for the next time."""
        return self._opened(self._read)

    def _opened(self, collect: Callable[[int], tuple[Migration, ...]], attempts: int = 3) -> tuple[Migration, ...]:
        """What ``collect`` returns for a descriptor of the folder; nothing if the folder does not exist."""
        key = str(self._folder)
        try:
            folder = os.open(key, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            logger.warning("There is no migrations folder %s", key)
            return ()
        except NotADirectoryError as error:
            raise MigrationFileError(f"{key} is a file; migrations_path is the folder that holds them.", key) from error
        except OSError as error:
            raise unreadable(key, error) from error
        try:
            return collect(folder)
        except OSError as error:
            # A file was removed after the folder was listed, or the folder was replaced.
            if attempts == 1 or not isinstance(error, FileNotFoundError):
                raise unreadable(key, error) from error
        finally:
            os.close(folder)
        time.sleep(_PAUSE_S)
        return self._opened(collect, attempts - 1)

    def down_migration(self, filename: str) -> Migration | None:
        path = self._folder / down_name_of(filename)
        try:
            return read_migration(path.name, path.read_bytes()) if path.is_file() else None
        except OSError as error:
            raise unreadable(str(path), error) from error

    def _collect(self, folder: int) -> tuple[Migration, ...]:
        key = str(self._folder)
        known = self._known.get(key)
        known_files = known.files if known else {}
        files: dict[str, tuple[_Signature | None, Migration]] = {}
        others: list[str] = []
        reread = False
        now = time.time_ns()
        for entry in self._chosen(folder, known_files, others):
            name = entry.name
            seen = known_files.get(name)
            stat = entry.stat()
            signature = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
            if seen is not None and seen[0] == signature:
                files[name] = seen
                continue
            reread = True
            migration = read_migration(name, _read_in(folder, name, stat.st_size))
            if seen is not None and seen[1] == migration:
                # Its memory is released: the file may be large, and others hold the same.
                migration = seen[1]
            is_settled = now - max(stat.st_mtime_ns, stat.st_ctime_ns) > self._settled_ns
            files[name] = (signature if is_settled else None, migration)
        if known is not None and not reread and files and len(files) == len(known.ordered):
            return known.ordered
        ordered = in_order(migration for _, migration in files.values())
        if known is None or not ordered:
            self._check(others, has_files=bool(ordered))
        self._known.put(key, _Read(files, ordered))
        return ordered

    def _read(self, folder: int) -> tuple[Migration, ...]:
        others: list[str] = []
        chosen = self._chosen(folder, {}, others)
        ordered = in_order(read_migration(entry.name, _read_in(folder, entry.name)) for entry in chosen)
        self._check(others, has_files=bool(ordered))
        return ordered

    def _chosen(self, folder: int, known: Container[str], others: list[str]) -> Iterator[os.DirEntry[str]]:
        """The migrations in the folder, which include those in ``known``. The names of ``others`` are appended."""
        # Relative to a descriptor, so that the kernel does not resolve the path again for every file.
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name not in known and not _is_chosen(entry.name):
                    others.append(entry.name)
                elif entry.is_file(follow_symlinks=False) or self._is_file(entry):
                    yield entry

    def _check(self, others: Sequence[str], *, has_files: bool) -> None:
        if others:
            _check_others(str(self._folder), [self._folder / name for name in others], has_files=has_files)

    def _is_file(self, entry: os.DirEntry[str]) -> bool:
        """Whether ``entry``, which is not a plain file, is a link to a file in the folder."""
        if not entry.is_symlink():
            return False
        try:
            target = (self._folder / entry.name).resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise MigrationFileError(
                f"{entry.name} is a broken symbolic link",
                entry.name,
                hint="Replace the link with the file itself, or delete it.",
            ) from error
        if not target.is_relative_to(self._folder.resolve()):
            raise MigrationFileError(
                f"{entry.name} is a link to {target}, outside the migrations folder",
                entry.name,
                hint="Replace the link with the file itself.",
            )
        return target.is_file()


class FolderReadOnce:
    """The migrations in a folder, as they are when they are collected for the first time."""

    is_slow = True

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._source = FolderSource(folder)
        self._migrations: tuple[Migration, ...] | None = None

    def collect(self) -> tuple[Migration, ...]:
        if self._migrations is None:
            self._migrations = self._source.read()
            self.is_slow = False
        return self._migrations

    def down_migration(self, filename: str) -> Migration | None:
        return self._source.down_migration(filename)


OwnSource = FolderSource | MemorySource | ResourceSource | FolderReadOnce


def _read_in(folder: int, name: str, size: int = _USUAL_BYTES) -> bytes:
    """The content of a file; ``size`` is what it is expected to have, in bytes."""
    # Creating a file object takes longer than reading a small file.
    file = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    try:
        content = os.read(file, size + 1)
        if len(content) <= min(size, _MOST_BYTES):
            # More was requested: this is the end.
            return content
        rest = os.fstat(file).st_size - len(content)
        return b"".join((content, *iter(partial(os.read, file, max(rest, size) + 1), b"")))
    finally:
        os.close(file)


def _is_chosen(name: str) -> bool:
    """Whether the file ``name`` is a migration; raises MigrationFileError if only its suffix is wrong."""
    if is_misspelt_suffix(name):
        raise MigrationFileError(
            f"{name}: the suffix of a migration is .sql, in lower case", name, hint="Rename the file."
        )
    return is_migration_name(name)


def _check_others(folder: str, entries: Iterable[Path | Traversable], *, has_files: bool) -> None:
    """Logs a warning about files in and below ``folder`` that may be intended as migrations but are not read.

    Raises:
        MigrationFileError: there are SQL files in folders below ``folder``, and none in it.
    """
    others = [entry for entry in entries if not entry.name.startswith(".")]
    code = sorted(entry.name for entry in others if is_other_code(entry.name))
    below = sorted(path for entry in others if entry.is_dir() for path in _sql_below(entry, entry.name))
    if below and not has_files:
        raise MigrationFileError(
            f"{folder} has no migrations, but folders in it have: {_some_of(below)}",
            below[0],
            hint=f"Move the files into {folder} itself, with names that define their order, such as "
            f"20240101000000_init.sql.",
        )
    if below or code:
        logger.warning("Not read, since only NAME.sql in %s itself is a migration: %s", folder, _some_of(below + code))


def _sql_below(folder: Path | Traversable, path: str) -> Iterator[str]:
    if path.count("/") > _DEEPEST_FOLDER:
        return
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _sql_below(entry, f"{path}/{entry.name}")
        elif entry.name.lower().endswith(".sql"):
            yield f"{path}/{entry.name}"


def _some_of(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN_NAMES])
    return shown if len(names) <= _SHOWN_NAMES else f"{shown} and {len(names) - _SHOWN_NAMES} more"
