"""Where migrations come from: a folder, the resources of a package, or a mapping in memory."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from ...core.lru import LRUCache
from ...errors import MigrationFileError
from .directives import BACKFILL, NO_TRANSACTION, REQUIRES, VERIFY, directives
from .names import (
    LONGEST_FILENAME,
    down_name_of,
    is_migration_name,
    is_misspelt_suffix,
    is_other_code,
    is_repeatable_name,
    order_of,
    version_of,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from datetime import datetime
    from importlib.resources.abc import Traversable

logger = logging.getLogger("pgdbm")

_SHOWN_NAMES = 3
_DEEPEST_FOLDER = 3
BACKGROUND = "background"
"""The option of a backfill that later files need not wait for."""


@dataclass(frozen=True, slots=True)
class Migration:
    """A migration file, and when it was applied, if known.

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
        """Whether the file asks, above its first statement, to run without a transaction, or is a backfill."""
        return any(one.name in (NO_TRANSACTION, BACKFILL) for one in directives(self.content))

    @property
    def runs_without_transaction(self) -> bool:
        """:attr:`wants_no_transaction`, or whether the file begins several transactions, as far as its lines show."""
        return self.wants_no_transaction or _begins_several(self.content)

    @property
    def is_backfill(self) -> bool:
        """Whether the file has ``-- pgdbm:backfill`` above its first statement: it runs in batches."""
        return any(one.name == BACKFILL for one in directives(self.content))

    @property
    def is_background(self) -> bool:
        """Whether the file is a backfill that files after it need not wait for."""
        return any(one.name == BACKFILL and BACKGROUND in one.text.split() for one in directives(self.content))

    @property
    def verifies(self) -> bool:
        """Whether the file has ``-- pgdbm:verify`` above its first statement: its queries must return no row."""
        return any(one.name == VERIFY for one in directives(self.content))

    @property
    def requires(self) -> tuple[str, ...]:
        """The files that have to be applied first, by ``-- pgdbm:requires NAME``: names with or without ``.sql``."""
        return tuple(one.text for one in directives(self.content) if one.name == REQUIRES)

    def matches(self, recorded: str) -> bool:
        """Whether ``recorded`` is the checksum of this content; a byte order mark makes no difference.

        Before 0.6, the checksum of a file with a byte order mark included that.
        """
        return recorded == self.checksum or recorded == checksum_of("\ufeff" + self.content)


_LONG = 1024 * 1024
_BEGINS = re.compile(
    r"^[ \t]*(?:BEGIN|START[ \t]+TRANSACTION)"
    r"(?:[ \t]+(?:WORK|TRANSACTION|ISOLATION|READ|NOT|DEFERRABLE)\b[^;\n]*)?[ \t]*;",
    re.MULTILINE | re.IGNORECASE,
)


def _begins_several(content: str) -> bool:
    if not any(word in content for word in ("BEGIN", "begin", "Begin", "TRANSACTION", "transaction")):
        return False
    return len(list(islice(_BEGINS.finditer(content, 0, _LONG), 2))) == 2


_LEADING_SPACE = re.compile(r"\s*")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_SAVE_AS_UTF_8 = "Save the file as UTF-8."
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def checksum_of(content: str) -> str:
    """The checksum of ``content`` in the history."""
    content = content.replace("\r\n", "\n")
    if len(content) <= _LONG:
        return hashlib.sha256(content.strip().encode()).hexdigest()
    # The same as the above, without copies of a large file.
    start = _LEADING_SPACE.match(content)
    begin, end = start.end() if start else 0, len(content)
    while end > begin and content[end - 1].isspace():
        end -= 1
    return hash_of_part(content, begin, end)


def hash_of_part(content: str, begin: int = 0, end: int | None = None) -> str:
    """The SHA-256, in hex, of ``content`` from ``begin`` to ``end``, without a copy of a large file."""
    end = len(content) if end is None else end
    digest = hashlib.sha256()
    for position in range(begin, end, _LONG):
        digest.update(content[position : min(position + _LONG, end)].encode())
    return digest.hexdigest()


def read_migration(filename: str, raw: bytes) -> Migration:
    """The migration in ``raw``.

    Raises:
        MigrationFileError: it is empty, or not UTF-8 (with the line), or the history cannot hold its name.
    """
    _check_name(filename)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = len(raw[raw.rfind(b"\n", 0, error.start) + 1 : error.start].decode()) + 1
        found = "UTF-16" if raw.startswith(_UTF_16) else f"not UTF-8 (byte 0x{raw[error.start]:02x})"
        raise MigrationFileError(
            f"{filename}:{line}:{column}: {found}",
            filename,
            line=line,
            column=column,
            hint=_SAVE_AS_UTF_8,
        ) from error
    return migration_of_text(filename, text)


def migration_of_text(filename: str, text: str) -> Migration:
    """The migration with the content ``text``, of which no copy is made. Raises as :func:`read_migration` does."""
    _check_name(filename)
    if "\x00" in text:
        line = text.count("\n", 0, text.index("\x00")) + 1
        if text.count("\x00") >= len(text) // 3:
            raise MigrationFileError(f"{filename}:{line}: UTF-16", filename, line=line, hint=_SAVE_AS_UTF_8)
        raise MigrationFileError(f"{filename}:{line}: it contains a NUL byte; is it SQL?", filename, line=line)
    text = text.removeprefix("\ufeff")
    checksum = checksum_of(text)
    if not text or text.isspace():
        raise MigrationFileError(
            f"{filename}:1: the file is empty",
            filename,
            line=1,
            hint="Write the migration, or delete the file.",
        )
    return Migration(filename, checksum, text)


def _check_name(filename: str) -> None:
    if not filename.isprintable():
        raise MigrationFileError(
            f"{filename!a}: the file name has characters that cannot be printed", filename, hint="Rename the file."
        )
    if len(filename) > LONGEST_FILENAME:
        raise MigrationFileError(
            f"{filename[:40]}…: the file name has {len(filename)} characters; the history holds {LONGEST_FILENAME}",
            filename,
            hint="Rename the file.",
        )


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


def source_of(place: str | os.PathLike[str] | Traversable | Mapping[str, str]) -> Source:
    """The source for a value of ``migrations_path``."""
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
        return in_order(self._read(name) for name in self._contents if _is_chosen(name))

    def down_migration(self, filename: str) -> Migration | None:
        name = down_name_of(filename)
        return self._read(name) if name in self._contents else None

    def _read(self, name: str) -> Migration:
        content = self._contents[name]
        if _SURROGATE.search(content) is None:
            return migration_of_text(name, content)
        # Invalid Unicode becomes invalid UTF-8, which is reported with its position.
        return read_migration(name, content.encode(errors="surrogatepass"))


class ResourceSource:
    """Migrations in a package: ``importlib.resources.files("mylib") / "migrations"``, even from a zip."""

    is_slow = True

    def __init__(self, folder: Traversable) -> None:
        self._folder = folder

    def collect(self) -> tuple[Migration, ...]:
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
        return read_migration(entry.name, entry.read_bytes()) if entry.is_file() else None


_Signature = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read from a folder, with the stats that show whether a file has changed."""

    files: dict[str, tuple[_Signature, Migration]]
    ordered: tuple[Migration, ...]


_PAUSE_S = 0.02


class FolderSource:
    """Migrations in a folder. A file whose stat has not changed since this process read it is not read again."""

    _known: ClassVar[LRUCache[str, _Read]] = LRUCache(512)
    # A file may be written twice within one tick of the file system's clock, with equal stats: a stat this recent
    # (nanoseconds) is not trusted.
    _settled_ns = 100_000_000

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder).absolute()

    @property
    def is_slow(self) -> bool:
        # Reading a known folder is a stat per file, which costs less than a thread.
        return str(self._folder) not in self._known

    def collect(self, attempts: int = 3) -> tuple[Migration, ...]:
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
        except FileNotFoundError:
            # A file was removed after the folder was listed, or the folder was replaced by another.
            if attempts == 1:
                raise
        finally:
            os.close(folder)
        time.sleep(_PAUSE_S)
        return self.collect(attempts - 1)

    def down_migration(self, filename: str) -> Migration | None:
        path = self._folder / down_name_of(filename)
        return read_migration(path.name, path.read_bytes()) if path.is_file() else None

    def _collect(self, key: str, folder: int) -> tuple[Migration, ...]:
        known = self._known.get(key)
        known_files = known.files if known else {}
        files: dict[str, tuple[_Signature, Migration]] = {}
        too_young: list[Migration] = []
        others: list[str] = []
        reread = False
        now = time.time_ns()
        # By descriptor, so that the kernel need not walk the path again for every file.
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                seen = known_files.get(name)
                if seen is None and not _is_chosen(name):
                    others.append(name)
                    continue
                if not entry.is_file(follow_symlinks=False) and not self._is_file(entry):
                    continue
                stat = entry.stat()
                signature = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
                if seen is not None and seen[0] == signature:
                    files[name] = seen
                    continue
                reread = True
                migration = read_migration(name, _read_in(folder, name, stat.st_size))
                if now - max(stat.st_mtime_ns, stat.st_ctime_ns) > self._settled_ns:
                    files[name] = (signature, migration)
                else:
                    too_young.append(migration)
        if known is not None and not reread and files and len(files) == len(known.ordered):
            return known.ordered
        ordered = in_order([*(migration for _, migration in files.values()), *too_young])
        if others and (known is None or not ordered):
            _check_others(key, [self._folder / name for name in others], has_files=bool(ordered))
        self._known.put(key, _Read(files, ordered))
        return ordered

    def _is_file(self, entry: os.DirEntry[str]) -> bool:
        """Whether ``entry``, which is not a plain file, is a link to one in the folder."""
        if not entry.is_symlink():
            return False
        try:
            target = (self._folder / entry.name).resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise MigrationFileError(
                f"{entry.name} is a broken symbolic link",
                entry.name,
                hint="Put the file itself there, or delete the link.",
            ) from error
        if not target.is_relative_to(self._folder.resolve()):
            raise MigrationFileError(
                f"{entry.name} is a link to {target}, outside the migrations folder",
                entry.name,
                hint="Put the file itself there.",
            )
        return target.is_file()


def _read_in(folder: int, name: str, size: int) -> bytes:
    # A file object takes longer to create than a small file to read.
    file = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    try:
        return b"".join(iter(partial(os.read, file, size + 1), b""))
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
    """Logs a warning about files beside and below the migrations of ``folder`` that may be meant as migrations.

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
            hint=f"Move the files into {folder} itself, with names that give their order, such as "
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


def in_order(migrations: Iterable[Migration]) -> tuple[Migration, ...]:
    """``migrations`` in the order in which they apply."""
    return tuple(sorted(migrations, key=lambda migration: order_of(migration.filename)))


def check_versions(migrations: Sequence[Migration], pending: Collection[str]) -> None:
    """Raise MigrationFileError if two files have the same version, and one of them is pending."""
    if not pending:
        return
    for one, other in pairwise(migrations):
        if not order_of(one.filename).same_version(order_of(other.filename)):
            continue
        if one.filename not in pending and other.filename not in pending:
            continue
        raise MigrationFileError(
            f"{one.filename} and {other.filename} have the same version {one.version}",
            other.filename if other.filename in pending else one.filename,
            line=1,
            version=one.version,
            hint="Rename one of them, so that their order is clear.",
        )
