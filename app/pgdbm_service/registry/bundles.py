"""Bundles: immutable versions of a module's files and settings, each identified by the digest of its content."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from pgdbm.core.lru import LRUCache
from pgdbm.errors import MigrationFileError
from pgdbm.migrations.sources.migration import Migration, hash_of_part
from pgdbm.migrations.sources.names import down_name_of, is_migration_name, is_misspelt_suffix
from pgdbm.migrations.sources.source import source_of

from ..errors import ServiceError
from .settings import CheckedSettings

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path


_SETTLED_NS = 300_000_000
_DEADLINE_S = 2.0
_PAUSE_S = 0.05
# Bundles without these settings have the same digest as before the settings existed.
_ADDED = ("windows", "approvals")


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """``files`` are by name, and include down migrations (``*.down.sql``)."""

    digest: str
    settings: CheckedSettings
    files: Mapping[str, Migration]

    @property
    def checksums(self) -> dict[str, str]:
        """The checksum of each migration, by file name."""
        return {name: file.checksum for name, file in self.files.items() if is_migration_name(name)}

    def consists_of(self, migrations: Collection[Migration]) -> bool:
        """Whether these objects are its migrations, rather than others with the same names."""
        if any(self.files.get(one.filename) is not one for one in migrations):
            return False
        return len(migrations) == len(self.files) or len(migrations) == sum(map(is_migration_name, self.files))


def bundle_of(settings: CheckedSettings, files: Collection[Migration]) -> Bundle:
    """The bundle of ``files``."""
    by_name = {file.filename: file for file in files}
    return Bundle(digest=digest_of(settings, files), settings=settings, files=by_name)


def digest_of(settings: CheckedSettings, files: Iterable[Migration]) -> str:
    """``sha256:`` and the hash of settings and files. The module's name is not part of it.

    It covers the content in addition to the checksum, which ignores white space that may matter to SQL.
    """
    content = [
        [file.filename, file.checksum, hash_of_part(file.content)]
        for file in sorted(files, key=lambda file: file.filename)
    ]
    given = msgspec.to_builtins(settings)
    for name in _ADDED:
        if given[name] is None:
            del given[name]
    canonical = msgspec.json.encode({"files": content, "settings": given}, order="sorted")
    return "sha256:" + hashlib.sha256(canonical).hexdigest()


def known_bundle(settings: CheckedSettings, folder: Path, planned: tuple[Migration, ...]) -> Bundle | None:
    """The bundle of the files in ``folder``; None if they have to be read.

    ``planned`` are its migrations as a FolderSource has just returned them: their stats were compared then.
    """
    known = _known.get(folder)
    if known is None or known.migrations is not planned:
        return None
    names = {file.filename for file in planned}
    unchanged = {name: stat for name, stat in known.stats.files.items() if name in names}
    return _known_bundle(settings, folder, _stats_of(folder, unchanged))


def read_folder(settings: CheckedSettings, folder: Path) -> Bundle:
    """The bundle of the current files in ``folder``, even if they are being written or replaced.

    Raises:
        MigrationFileError, OSError: a file cannot be read.
    """
    before = _stats_of(folder)
    known = _known_bundle(settings, folder, before)
    if known is not None:
        return known
    bundle, migrations = _read(settings, folder)
    if not _is_young(before) and before == _stats_of(folder):
        _keep(folder, before, bundle, migrations)
    return bundle


def read_settled(settings: CheckedSettings, folder: Path) -> Bundle:
    """A consistent bundle of the files in ``folder``. Waits while they are being written or replaced.

    Raises:
        MigrationFileError, OSError: a file cannot be read.
        ServiceError: files_changing.
    """
    deadline = time.monotonic() + _DEADLINE_S
    while True:
        before, failure, read = _stats_of(folder), None, None
        known = _known_bundle(settings, folder, before)
        if known is not None:
            return known
        try:
            read = _read(settings, folder)
        except (MigrationFileError, OSError) as error:
            failure = error
        if not _is_young(before) and before == _stats_of(folder):
            if read is not None:
                _keep(folder, before, *read)
                return read[0]
            assert failure is not None
            raise failure
        if time.monotonic() > deadline:
            raise ServiceError("files_changing", f"The files in {folder.name} are being changed.") from failure
        time.sleep(_PAUSE_S)


def _read(settings: CheckedSettings, folder: Path) -> tuple[Bundle, tuple[Migration, ...]]:
    """The bundle, and the migrations in it as the source returns them."""
    source = source_of(folder)
    migrations = source.collect()
    found = list(migrations)
    # Most files have no down migration, and checking for each one would take longer than everything else.
    with os.scandir(folder) if found else nullcontext(()) as entries:
        names = {entry.name for entry in entries}
    with_down = [file.filename for file in found if down_name_of(file.filename) in names]
    found += [down for down in map(source.down_migration, with_down) if down is not None]
    return bundle_of(settings, found), migrations


class _Stats(NamedTuple):
    """Inode, size, mtime and ctime of each file of a bundle; target, inode and ctime of each symbolic link in their
    paths.

    A new link may reuse the inode of the one before last, and file systems round ctime to a few milliseconds.
    """

    files: dict[str, tuple[int, int, int, int]]
    links: dict[str, tuple[str, int, int]]


class _Known(NamedTuple):
    stats: _Stats
    bundle: Bundle
    migrations: tuple[Migration, ...]


# By folder. While no stat has changed, neither have the files.
_known: LRUCache[Path, _Known] = LRUCache(512)


def _known_bundle(settings: CheckedSettings, folder: Path, stats: _Stats) -> Bundle | None:
    known = _known.get(folder)
    return known.bundle if known is not None and known.stats == stats and known.bundle.settings == settings else None


def _keep(folder: Path, stats: _Stats, bundle: Bundle, migrations: tuple[Migration, ...]) -> None:
    # Within one tick of the file system's clock, a file may be written twice with equal stats.
    settled = time.time_ns() - _SETTLED_NS
    if all(ctime < settled for _, _, _, ctime in stats.files.values()):
        _known.put(folder, _Known(stats, bundle, migrations))


def _stats_of(folder: Path, unchanged: Mapping[str, tuple[int, int, int, int]] = MappingProxyType({})) -> _Stats:
    """The stats of the files in ``folder``. ``unchanged`` files have these stats, if they are not links."""
    stats = _Stats({}, {})
    links = [path for path in (folder, *folder.parents) if path.is_symlink()]
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink():
                links.append(folder / entry.name)
            elif entry.name in unchanged:
                stats.files[entry.name] = unchanged[entry.name]
                continue
            if is_bundle_file(entry.name) or is_misspelt_suffix(entry.name):
                with suppress(OSError):
                    stat = entry.stat()
                    stats.files[entry.name] = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    for link in links:
        with suppress(OSError):
            stat = link.lstat()
            stats.links[str(link)] = (str(link.readlink()), stat.st_ino, stat.st_ctime_ns)
    return stats


def _is_young(stats: _Stats) -> bool:
    """Whether a file was written so recently that its writer may not be done."""
    now = time.time_ns()
    return any(abs(now - mtime) < _SETTLED_NS for _, _, mtime, _ in stats.files.values())


def is_bundle_file(name: str) -> bool:
    """Whether a file with this name belongs to a bundle: a migration or a down migration."""
    return name.endswith(".sql") and not name.startswith(".")
