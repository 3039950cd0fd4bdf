"""Where migrations come from: a folder, the resources of a package, or a mapping in memory."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from ..errors import MigrationFileError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from importlib.resources.abc import Traversable

logger = logging.getLogger("pgdbm")

# In the order in which they are tried: V1_2__name, 2024_01_26_name (with or without a time), 001_name or 1.2-name.
_VERSIONS = (
    re.compile(r"[Vv](\d+(?:[._]\d+)*)__"),
    re.compile(r"(\d{4}[_-]\d{2}[_-]\d{2}(?:[_-]\d{4,6})?)(?=[_-]|$)"),
    re.compile(r"[Vv]?(\d+(?:\.\d+)*)(?=[_-]|$)"),
)
_SEPARATORS = re.compile(r"[._-]")
_NO_TRANSACTION = re.compile(r"^-- pgdbm:no-transaction(?=\s|\Z)", re.MULTILINE)
_REPEATABLE = "R__"
_DOWN = ".down.sql"
_LONGEST_FILENAME = 255


@dataclass(frozen=True, slots=True)
class Migration:
    """A migration file, and when it was applied where that is known.

    ``checksum`` is the SHA-256, in hex, of the content with CRLF turned into LF and outer white space stripped.
    """

    filename: str
    checksum: str
    content: str
    applied_at: datetime | None = None
    module_name: str | None = None

    @property
    def is_applied(self) -> bool:
        """Whether the history has it."""
        return self.applied_at is not None

    @property
    def version(self) -> str:
        """``001_x.sql`` → ``001``, ``V2__x.sql`` → ``2``, ``20240126120000_x.sql`` → that; else the stem."""
        return version_of(self.filename)

    @property
    def is_repeatable(self) -> bool:
        """``R__name.sql``: applied again whenever its content changes, after those with a version."""
        return is_repeatable_name(self.filename)

    @property
    def wants_no_transaction(self) -> bool:
        """Whether the file asks, with ``-- pgdbm:no-transaction``, to run statement by statement."""
        # Most files do not, and that is seen faster.
        return "-- pgdbm:no-transaction" in self.content and _NO_TRANSACTION.search(self.content) is not None


def version_of(filename: str) -> str:
    """The version in a file name, as written; the stem where there is none."""
    stem = filename.removesuffix(".sql")
    for pattern in _VERSIONS:
        match = pattern.match(stem)
        if match:
            return match[1]
    return stem


@lru_cache(maxsize=32768)
def order_of(filename: str) -> tuple[int, tuple[int, ...], str]:
    """What file names sort by: versions as numbers (9 before 10), then names without a version, repeatables last."""
    if is_repeatable_name(filename):
        return (2, (), filename)
    parts = _SEPARATORS.split(version_of(filename))
    # Of a longer number Python makes no int, and no file has a name of that length.
    if not all(part.isdecimal() and len(part) <= _LONGEST_FILENAME for part in parts):
        return (1, (), filename)
    numbers = [int(part) for part in parts]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    return (0, tuple(numbers), filename)


def checksum_of(content: str) -> str:
    """The checksum that the history holds for ``content``."""
    return hashlib.sha256(content.replace("\r\n", "\n").strip().encode()).hexdigest()


def read_migration(filename: str, raw: bytes) -> Migration:
    """The migration in ``raw``.

    Raises:
        MigrationFileError: it is empty, or not UTF-8 (with the line), or the history cannot hold its name.
    """
    if not filename.isprintable():
        raise MigrationFileError(
            f"{filename!a}: the file name has characters that cannot be printed. Rename the file.", filename
        )
    if len(filename) > _LONGEST_FILENAME:
        raise MigrationFileError(
            f"{filename[:40]}…: the file name has {len(filename)} characters; the history holds {_LONGEST_FILENAME}.",
            filename,
        )
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = len(raw[raw.rfind(b"\n", 0, error.start) + 1 : error.start].decode()) + 1
        raise MigrationFileError(
            f"{filename}:{line}:{column}: not UTF-8 (byte 0x{raw[error.start]:02x}). Save the file as UTF-8.",
            filename,
            line=line,
            column=column,
            hint="Save the file as UTF-8.",
        ) from error
    if "\x00" in text:
        line = text.count("\n", 0, text.index("\x00")) + 1
        raise MigrationFileError(f"{filename}:{line}: holds a NUL byte; is it SQL?", filename, line=line)
    checksum = checksum_of(text)
    text = text.removeprefix("\ufeff")
    if not text.strip():
        raise MigrationFileError(
            f"{filename}:1: the file is empty. Write the migration, or delete the file.",
            filename,
            line=1,
            hint="Write the migration, or delete the file.",
        )
    return Migration(filename, checksum, text)


class Source(Protocol):
    """Somewhere that migrations come from."""

    @property
    def is_slow(self) -> bool:
        """Whether :meth:`collect` has much to read, and belongs into a thread."""
        ...

    def collect(self) -> tuple[Migration, ...]:
        """Every migration, in the order in which they apply. Raises MigrationFileError naming file and line."""
        ...

    def way_back(self, filename: str) -> Migration | None:
        """The file ``NAME.down.sql`` that takes ``NAME.sql`` back, if there is one."""
        ...


def source_of(place: str | os.PathLike[str] | Traversable | Mapping[str, str]) -> Source:
    """The source for what users give as ``migrations_path``."""
    if isinstance(place, str | os.PathLike):
        return FolderSource(place)
    if isinstance(place, Mapping):
        return MemorySource(place)
    return ResourceSource(place)


class MemorySource:
    """Migrations given as {filename: content}."""

    is_slow = False

    def __init__(self, contents: Mapping[str, str]) -> None:
        self._contents = dict(contents)

    def collect(self) -> tuple[Migration, ...]:
        # What is no Unicode (a lone surrogate) becomes bytes that are no UTF-8, which is reported with its place.
        return in_order(self._read(name) for name in self._contents if is_migration_name(name))

    def way_back(self, filename: str) -> Migration | None:
        name = way_back_of(filename)
        return self._read(name) if name in self._contents else None

    def _read(self, name: str) -> Migration:
        return read_migration(name, self._contents[name].encode(errors="surrogatepass"))


class ResourceSource:
    """Migrations in a package: ``importlib.resources.files("mylib") / "migrations"``, also from a zip."""

    is_slow = True

    def __init__(self, folder: Traversable) -> None:
        self._folder = folder

    def collect(self) -> tuple[Migration, ...]:
        if not self._folder.is_dir():
            logger.warning("There is no migrations folder %s", self._folder)
            return ()
        return in_order(
            read_migration(entry.name, entry.read_bytes())
            for entry in self._folder.iterdir()
            if is_migration_name(entry.name) and entry.is_file()
        )

    def way_back(self, filename: str) -> Migration | None:
        entry = self._folder / way_back_of(filename)
        return read_migration(entry.name, entry.read_bytes()) if entry.is_file() else None


_Signature = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read from a folder, with what tells whether a file is still the same."""

    files: dict[str, tuple[_Signature, Migration]]
    ordered: tuple[Migration, ...]


class FolderSource:
    """Migrations in a folder. A file whose stat has not changed since this process read it is not read again."""

    _known: ClassVar[OrderedDict[str, _Read]] = OrderedDict()
    _most_folders = 512
    # A file may be written twice within one tick of the file system's clock and look the same: a stat this young
    # (nanoseconds) is not believed.
    _settled_ns = 100_000_000

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder).absolute()

    @property
    def is_slow(self) -> bool:
        # Once it is known, a look at it is a stat per file, and a thread would cost more than that.
        return str(self._folder) not in self._known

    def collect(self) -> tuple[Migration, ...]:
        key = str(self._folder)
        try:
            folder = os.open(key, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            logger.warning("There is no migrations folder %s", key)
            return ()
        except NotADirectoryError as error:
            raise MigrationFileError(f"{key} is a file; migrations_path is the folder that holds them.", key) from error
        try:
            return self._collect(key, folder)
        finally:
            os.close(folder)

    def way_back(self, filename: str) -> Migration | None:
        path = self._folder / way_back_of(filename)
        return read_migration(path.name, path.read_bytes()) if path.is_file() else None

    def _collect(self, key: str, folder: int) -> tuple[Migration, ...]:
        known = self._known.get(key)
        known_files = known.files if known else {}
        files: dict[str, tuple[_Signature, Migration]] = {}
        too_young: list[Migration] = []
        reread = False
        now = time.time_ns()
        # By descriptor, so that the kernel need not walk the path again for every file.
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                seen = known_files.get(name)
                if seen is None and not is_migration_name(name):
                    continue
                if not entry.is_file(follow_symlinks=False) and not self._is_file(entry):
                    continue
                stat = entry.stat()
                signature = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
                if seen is not None and seen[0] == signature:
                    files[name] = seen
                    continue
                reread = True
                migration = read_migration(name, (self._folder / name).read_bytes())
                if now - max(stat.st_mtime_ns, stat.st_ctime_ns) > self._settled_ns:
                    files[name] = (signature, migration)
                else:
                    too_young.append(migration)
        if known is not None and not reread and len(files) == len(known.ordered):
            return known.ordered
        ordered = in_order([*(migration for _, migration in files.values()), *too_young])
        self._known[key] = _Read(files, ordered)
        self._known.move_to_end(key)
        while len(self._known) > self._most_folders:
            self._known.popitem(last=False)
        return ordered

    def _is_file(self, entry: os.DirEntry[str]) -> bool:
        """Whether ``entry``, which is no plain file, is a link to one in the folder."""
        if not entry.is_symlink():
            return False
        try:
            target = (self._folder / entry.name).resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise MigrationFileError(
                f"{entry.name} is a link that leads nowhere. Put the file itself there, or delete the link.", entry.name
            ) from error
        if not target.is_relative_to(self._folder.resolve()):
            raise MigrationFileError(
                f"{entry.name} is a link to {target}, outside of the migrations folder. Put the file itself there.",
                entry.name,
            )
        return target.is_file()


def way_back_of(filename: str) -> str:
    """The name of the file that takes ``filename`` back."""
    return filename.removesuffix(".sql") + _DOWN


def migration_of(filename: str) -> str:
    """The name of the migration that ``filename`` takes back; ``filename`` itself if it is none's way back."""
    return filename.removesuffix(_DOWN) + ".sql" if filename.endswith(_DOWN) else filename


def has_version(filename: str) -> bool:
    """Whether a version, rather than the name, says where the file stands."""
    return order_of(filename)[0] == 0


def is_repeatable_name(filename: str) -> bool:
    """``R__name.sql``."""
    return filename.startswith(_REPEATABLE)


def is_migration_name(name: str) -> bool:
    """``*.sql`` that is not hidden and not the way back (``*.down.sql``)."""
    return name.endswith(".sql") and not name.startswith(".") and not name.endswith(_DOWN)


def in_order(migrations: Iterable[Migration]) -> tuple[Migration, ...]:
    """``migrations`` in the order in which they apply."""
    return tuple(sorted(migrations, key=lambda migration: order_of(migration.filename)))
