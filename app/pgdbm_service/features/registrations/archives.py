"""Reads the files of a tar archive. Nothing in it is trusted, and nothing is written to disk."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from io import BytesIO

import msgspec

from pgdbm.migrations.sources.names import is_misspelt_suffix
from pgdbm.text import error_text, sentence

from ...errors import ServiceError
from ...registry.bundles import is_bundle_file
from ...registry.modules import MODULE_FILE


class Limits(msgspec.Struct, frozen=True):
    """``bytes`` is the unpacked size of all files together."""

    bytes: int
    files: int

    def check_bytes(self, size: int) -> None:
        if size > self.bytes:
            raise self.too_large("The files are larger.")

    def check_files(self, count: int) -> None:
        if count > self.files:
            raise self.too_large("There are more files.")

    def too_large(self, detail: str) -> ServiceError:
        return ServiceError(
            "bundle_too_large",
            f"A module may have {self.files} files of {self.bytes} bytes in total. {detail}",
            max_files=self.files,
            max_bytes=self.bytes,
        )


GZIP_MAGIC = b"\x1f\x8b"
ZIP_MAGIC = b"PK\x03\x04"
_TAR_MAGIC = b"ustar"
_TAR_MAGIC_AT = 257
_DEEPEST = 8
_CHUNK = 65536
# The size of a tar archive without the content of its files: headers, padding, and extended headers for long names.
_OVERHEAD_PER_FILE = 4096
_OVERHEAD = 1024 * 1024
_BROKEN = (tarfile.TarError, EOFError, OSError, zlib.error, ValueError, OverflowError, IndexError)


def is_archive(body: bytes) -> bool:
    """Whether ``body`` starts like an archive that :func:`files_in` can read."""
    return body.startswith((GZIP_MAGIC, ZIP_MAGIC)) or body[_TAR_MAGIC_AT:].startswith(_TAR_MAGIC)


def files_in(body: bytes, limits: Limits) -> dict[str, bytes]:
    """The SQL files in the archive, and its module.toml, by name. Other files are ignored, as in the repository.

    Raises:
        ServiceError: archive_invalid, bundle_too_large, migration_file_invalid.
    """
    if body.startswith(ZIP_MAGIC):
        raise ServiceError("archive_invalid", "The body is a zip archive; send a tar.gz.")
    try:
        unpacked = _unpacked(body, limits) if body.startswith(GZIP_MAGIC) else body
        return _read(unpacked, limits)
    except _BROKEN as error:
        raise ServiceError("archive_invalid", sentence(f"The archive is damaged: {error_text(error)}")) from error


def _unpacked(body: bytes, limits: Limits) -> bytes:
    """Never more than the limits allow, regardless of the unpacked size."""
    most = limits.bytes + limits.files * _OVERHEAD_PER_FILE + _OVERHEAD
    unpacked = bytearray()
    with gzip.GzipFile(fileobj=BytesIO(body)) as stream:
        while chunk := stream.read(_CHUNK):
            unpacked += chunk
            if len(unpacked) > most:
                raise limits.too_large("The archive unpacks to more.")
    return bytes(unpacked)


def _read(unpacked: bytes, limits: Limits) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    folders: set[str] = set()
    members: set[str] = set()
    size = 0
    with tarfile.open(fileobj=BytesIO(unpacked), mode="r:") as archive:
        for count, member in enumerate(archive, 1):
            limits.check_files(count)
            path = _checked_path(member, members)
            if not member.isreg():
                continue
            size += member.size
            limits.check_bytes(size)
            folder, _, name = path.rpartition("/")
            if is_misspelt_suffix(name):
                raise ServiceError(
                    "migration_file_invalid",
                    f"{name}: the suffix of a migration is .sql, in lower case.",
                    filename=name,
                    hint="Rename the file so that it has the suffix .sql.",
                )
            if name != MODULE_FILE and not is_bundle_file(name):
                continue
            folders.add(folder)
            content = archive.extractfile(member)
            found[name] = content.read() if content is not None else b""
            if len(found[name]) != member.size:
                raise _refused(path, "is cut off")
        # tarfile treats a damaged header in the middle as the end of the archive.
        if unpacked[archive.offset :].strip(b"\x00"):
            raise ServiceError("archive_invalid", f"The archive is damaged at byte {archive.offset}.")
    if len(folders) > 1:
        raise ServiceError(
            "archive_invalid",
            f"The files are in several folders ({', '.join(sorted(folders)[:5])}): a module's files "
            f"must be in one folder.",
        )
    return found


def _checked_path(member: tarfile.TarInfo, members: set[str]) -> str:
    shown = member.name.encode(errors="replace").decode()
    parts = [part for part in member.name.split("/") if part not in ("", ".")]
    # tarfile decodes invalid names to surrogates, which cannot be encoded.
    if not _is_encodable(member.name):
        raise _refused(shown, "is not a valid UTF-8 name")
    if member.name.startswith("/") or "\\" in member.name:
        raise _refused(shown, "has an absolute path, or one with backslashes")
    if ".." in parts:
        raise _refused(shown, "has a path that leads out of the archive")
    if len(parts) > _DEEPEST:
        raise _refused(shown, f"is more than {_DEEPEST} folders deep")
    if member.issym() or member.islnk():
        raise _refused(shown, "is a link. Put the file itself into the archive")
    if not (member.isreg() or member.isdir()) or member.issparse():
        raise _refused(shown, "is neither a file nor a folder")
    path = "/".join(parts)
    if member.isreg():
        if path in members:
            raise _refused(shown, "is in the archive twice")
        members.add(path)
    return path


def _is_encodable(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refused(name: str, reason: str) -> ServiceError:
    return ServiceError("archive_invalid", f"{name} {reason}.", filename=name)
