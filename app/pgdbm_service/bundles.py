"""Bundles: one immutable version of a module's files and settings, known by the digest of what is in it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from pgdbm.migrations.files import checksum_of, read_migration, source_of

from .module_settings import CheckedSettings

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pgdbm.migrations import Migration


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """``files`` are by name, as they were written; the ways back (``*.down.sql``) are among them."""

    digest: str
    settings: CheckedSettings
    files: Mapping[str, str]


def bundle_of(settings: CheckedSettings, files: Mapping[str, str]) -> Bundle:
    """The bundle of ``settings`` and ``files``.

    Raises:
        MigrationFileError: a file cannot be read as a migration.
    """
    read = [read_migration(name, content.encode(errors="surrogatepass")) for name, content in files.items()]
    return Bundle(digest=digest_of(settings, read), settings=settings, files=dict(files))


def digest_of(settings: CheckedSettings, files: Iterable[Migration]) -> str:
    """``sha256:`` and the hash of settings and files. The module's name is no part of it.

    The checksum of a file says what the history will hold, but leaves out white space that may matter to SQL.
    """
    content = [
        [file.filename, file.checksum, hashlib.sha256(file.content.encode()).hexdigest()]
        for file in sorted(files, key=lambda file: file.filename)
    ]
    canonical = msgspec.json.encode({"files": content, "settings": settings}, order="sorted")
    return "sha256:" + hashlib.sha256(canonical).hexdigest()


def read_folder(settings: CheckedSettings, folder: Path) -> Bundle:
    """The bundle of what is in ``folder`` now.

    Raises:
        MigrationFileError, OSError: a file cannot be read.
    """
    source = source_of(folder)
    found = list(source.collect())
    found += [back for back in (source.way_back(file.filename) for file in found) if back is not None]
    files = {file.filename: _as_written(file) for file in found}
    return Bundle(digest=digest_of(settings, found), settings=settings, files=files)


def is_bundle_file(name: str) -> bool:
    """Whether a file of this name belongs into a bundle: a migration, or the way back of one."""
    return name.endswith(".sql") and not name.startswith(".")


def _as_written(file: Migration) -> str:
    """With the byte order mark, which is no part of the SQL but of the checksum."""
    return file.content if checksum_of(file.content) == file.checksum else f"\ufeff{file.content}"
