"""One migration: its content, its checksum, and how it is read from bytes or text. Pure."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import TYPE_CHECKING

from ...errors import MigrationFileError
from ...patterns import late_pattern
from .directives import BACKFILL, NO_TRANSACTION, REQUIRES, VERIFY, directives
from .names import LONGEST_FILENAME, is_repeatable_name, order_of, version_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import datetime

BACKGROUND = "background"
"""The option of a backfill that later files do not have to wait for."""


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
        """Whether the file has the no-transaction directive above its first statement, or is a backfill."""
        return any(one.name in (NO_TRANSACTION, BACKFILL) for one in directives(self.content))

    @property
    def runs_without_transaction(self) -> bool:
        """:attr:`wants_no_transaction`, or whether the file seems to contain transactions, judging by its lines."""
        return self.wants_no_transaction or _has_transactions(self.content)

    @property
    def is_backfill(self) -> bool:
        """Whether the file has ``-- pgdbm:backfill`` above its first statement: it runs in batches."""
        return any(one.name == BACKFILL for one in directives(self.content))

    @property
    def is_background(self) -> bool:
        """Whether the file is a backfill that later files do not have to wait for."""
        # Whether a module has one is found out after each run of it.
        return BACKGROUND in self.content and any(
            one.name == BACKFILL and BACKGROUND in one.text.split() for one in directives(self.content)
        )

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

        Before 0.6, the checksum of a file with a byte order mark included the mark.
        """
        return recorded == self.checksum or recorded == checksum_of("\ufeff" + self.content)


_LONG = 1024 * 1024
_BEGINS = (
    r"(?mi)^[ \t]*(?:BEGIN|START[ \t]+TRANSACTION)"
    r"(?:[ \t]+(?:WORK|TRANSACTION|ISOLATION|READ|NOT|DEFERRABLE)\b[^;\n]*)?[ \t]*;"
)


_COMMITS = r"(?mi)^[ \t]*(?:COMMIT|END)(?:[ \t]+(?:WORK|TRANSACTION))?[ \t]*;"
# What is allowed outside a BEGIN and COMMIT that enclose the whole file.
# Where the end is missing it extends to the end of the file, so that no part of the text is searched twice.
_IMMATERIAL = r"(?ims)--[^\n]*|/\*(?:.*?\*/|.*)|^[ \t]*SET\b[^;]*"


def _has_transactions(content: str) -> bool:
    """Whether ``content`` begins several transactions, or one among other statements."""
    if not any(word in content for word in ("BEGIN", "begin", "Begin", "TRANSACTION", "transaction")):
        return False
    begins = list(islice(re.compile(_BEGINS).finditer(content, 0, _LONG), 2))
    if len(begins) != 1:
        return len(begins) == 2
    commits = list(re.compile(_COMMITS).finditer(content, begins[0].end()))
    if not commits:
        return False
    outside = content[: begins[0].start()], content[commits[-1].end() :]
    return any(re.sub(_IMMATERIAL, "", one).strip(" \t\r\n;") for one in outside)


_LEADING_SPACE = late_pattern(r"\s*")
_SAVE_AS_UTF_8 = "Save the file as UTF-8."
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def checksum_of(content: str) -> str:
    """The checksum of ``content`` in the history."""
    content = content.replace("\r\n", "\n")
    if len(content) <= _LONG:
        return hashlib.sha256(content.strip().encode()).hexdigest()
    # The same, without copying a large file.
    start = _LEADING_SPACE.match(content)
    begin, end = start.end() if start else 0, len(content)
    while end > begin and content[end - 1].isspace():
        end -= 1
    return hash_of_part(content, begin, end)


def hash_of_part(content: str, begin: int = 0, end: int | None = None) -> str:
    """The SHA-256, in hex, of ``content`` from ``begin`` to ``end``, without a copy of a large file."""
    end = len(content) if end is None else end
    if begin == 0 and end == len(content) <= _LONG:
        return hashlib.sha256(content.encode()).hexdigest()
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
    return _migration_of(filename, text)


def migration_of_text(filename: str, text: str) -> Migration:
    """The migration with the content ``text``, of which no copy is made. Raises the same as :func:`read_migration`."""
    _check_name(filename)
    return _migration_of(filename, text)


def _migration_of(filename: str, text: str) -> Migration:
    if "\x00" in text:
        line = text.count("\n", 0, text.index("\x00")) + 1
        if text.count("\x00") >= len(text) // 3:
            raise MigrationFileError(f"{filename}:{line}: UTF-16", filename, line=line, hint=_SAVE_AS_UTF_8)
        raise MigrationFileError(f"{filename}:{line}: it contains a NUL byte; is it an SQL file?", filename, line=line)
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
            f"{filename!a}: the file name has unprintable characters", filename, hint="Rename the file."
        )
    if len(filename) > LONGEST_FILENAME:
        raise MigrationFileError(
            f"{filename[:40]}…: the file name has {len(filename)} characters; the history holds {LONGEST_FILENAME}",
            filename,
            hint="Rename the file.",
        )


def in_order(migrations: Iterable[Migration]) -> tuple[Migration, ...]:
    """``migrations`` in the order in which they apply."""
    return tuple(sorted(migrations, key=lambda migration: order_of(migration.filename)))


def check_versions(migrations: Sequence[Migration], pending: Collection[str]) -> None:
    """Raise MigrationFileError if two files have the same version, and one of them is pending."""
    if not pending:
        return
    for one, other in pairwise(migrations):
        if one.filename not in pending and other.filename not in pending:
            continue
        if not order_of(one.filename).same_version(order_of(other.filename)):
            continue
        raise MigrationFileError(
            f"{one.filename} and {other.filename} have the same version {one.version}",
            other.filename if other.filename in pending else one.filename,
            line=1,
            version=one.version,
            hint="Rename one of them so that their order is clear.",
        )
