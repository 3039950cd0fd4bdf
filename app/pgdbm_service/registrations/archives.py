"""A tar archive becomes files. Nothing in it is trusted, and nothing of it touches the disk."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from io import BytesIO
from typing import TYPE_CHECKING

from ..bundles import is_bundle_file
from ..errors import Problem
from ..registry import MODULE_FILE

if TYPE_CHECKING:
    from .limits import Limits

GZIP_MAGIC = b"\x1f\x8b"
ZIP_MAGIC = b"PK\x03\x04"
_TAR_MAGIC = b"ustar"
_TAR_MAGIC_AT = 257
_DEEPEST = 8
_CHUNK = 65536
# What a tar archive has besides the content of its files: headers, padding, and extended headers for long names.
_OVERHEAD_PER_FILE = 4096
_OVERHEAD = 1024 * 1024
_BROKEN = (tarfile.TarError, EOFError, OSError, zlib.error, ValueError, OverflowError, IndexError)


def is_archive(body: bytes) -> bool:
    """Whether ``body`` is to be read by :func:`files_in`, judged by how it begins."""
    return body.startswith((GZIP_MAGIC, ZIP_MAGIC)) or body[_TAR_MAGIC_AT:].startswith(_TAR_MAGIC)


def files_in(body: bytes, limits: Limits) -> dict[str, bytes]:
    """The SQL files in the archive, and its module.toml, by name. Other files are passed over, as in the repository.

    Raises:
        Problem: archive_invalid, bundle_too_large.
    """
    if body.startswith(ZIP_MAGIC):
        raise Problem("archive_invalid", "The body is a zip archive; send a tar.gz.")
    try:
        unpacked = _unpacked(body, limits) if body.startswith(GZIP_MAGIC) else body
        return _read(unpacked, limits)
    except _BROKEN as error:
        raise Problem("archive_invalid", f"The archive is damaged: {error or type(error).__name__}.") from error


def _unpacked(body: bytes, limits: Limits) -> bytes:
    """Never more than the limits allow, whatever the archive would become."""
    most = limits.bytes + limits.files * _OVERHEAD_PER_FILE + _OVERHEAD
    unpacked = bytearray()
    with gzip.GzipFile(fileobj=BytesIO(body)) as stream:
        while chunk := stream.read(_CHUNK):
            unpacked += chunk
            if len(unpacked) > most:
                raise limits.too_large("The archive unpacks to more than that.")
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
            if name != MODULE_FILE and not is_bundle_file(name):
                continue
            folders.add(folder)
            content = archive.extractfile(member)
            found[name] = content.read() if content is not None else b""
            if len(found[name]) != member.size:
                raise _refused(path, "is cut off")
        # A damaged header in the middle would otherwise look like the end.
        if unpacked[archive.offset :].strip(b"\x00"):
            raise Problem("archive_invalid", f"The archive is damaged at byte {archive.offset}.")
    if len(folders) > 1:
        raise Problem(
            "archive_invalid",
            f"The files are in several folders ({', '.join(sorted(folders)[:5])}): a module's files belong into one.",
        )
    return found


def _checked_path(member: tarfile.TarInfo, members: set[str]) -> str:
    shown = member.name.encode(errors="replace").decode()
    parts = [part for part in member.name.split("/") if part not in ("", ".")]
    # What tarfile cannot decode becomes surrogates, which nothing can be encoded with.
    if not _is_encodable(member.name):
        raise _refused(shown, "is not a name in UTF-8")
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


def _refused(name: str, reason: str) -> Problem:
    return Problem("archive_invalid", f"{name} {reason}.", filename=name)
