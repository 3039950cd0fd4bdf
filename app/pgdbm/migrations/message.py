"""One message to the server: the statements of whole transactions, and which file each part of it came from.

A transactional migration travels as begin, settings, lock and look, the file, the history row, commit. Several cheap
files travel in one message, each in its own transaction.
"""

from __future__ import annotations

import re
import secrets
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..core.identifiers import quote
from ..sql import statement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .history import History
    from .parser import ParsedMigration

DONE = re.compile(r'"pgdbm:done:([0-9a-f]+):(\d+)"')
LOCK_HELD = '"pgdbm:lock-held"'
ALREADY_APPLIED = '"pgdbm:already-applied"'
"""What the text of the server's error contains when our own look at lock or history stopped a transaction."""

_FIRST_WITH_TRANSACTION_TIMEOUT = 17
_MOST_FILES_IN_MESSAGE = 64
_MOST_CHARACTERS_IN_MESSAGE = 256 * 1024
_DONE, _FILENAME, _CHECKSUM = "$done$", "$filename$", "$checksum$"


class Composer:
    """Writes the parts of transactions that are not the author's. ``lock_timeout_ms`` None leaves the setting alone.

    With a ``role`` the author's parts run as that one; lock, look and history row stay our own user's.
    """

    def __init__(
        self,
        history: History,
        lock_key: int,
        lock_timeout_ms: int | None,
        server_version: int,
        role: str | None = None,
    ) -> None:
        self.enter_role = "" if role is None else statement("runner", "enter_role", role=quote(role))
        self.enter_role_of_session = (
            "" if role is None else statement("runner", "enter_role_of_session", role=quote(role))
        )
        self.leave_role = "" if role is None else statement("runner", "leave_role")
        lock_timeout = ""
        if lock_timeout_ms is not None:
            lock_timeout = statement("runner", "lock_timeout", milliseconds=str(lock_timeout_ms))
        has_transaction_timeout = server_version >= _FIRST_WITH_TRANSACTION_TIMEOUT
        # A message of several statements cannot have parameters. What is the same for every file is filled in once.
        self._opening = {
            waits: statement(
                "runner",
                "open",
                lock_timeout=lock_timeout,
                no_transaction_timeout=statement("runner", "no_transaction_timeout") if has_transaction_timeout else "",
                no_wait_for_disk="" if waits else statement("runner", "no_wait_for_disk"),
                key=str(lock_key),
                done=_DONE,
            )
            for waits in (True, False)
        }
        self._templates = {
            name: statement(
                "runner",
                name,
                history=history.table,
                module=literal(history.module),
                filename=_FILENAME,
                checksum=_CHECKSUM,
            )
            for name in ("look", "look_repeatable", "record", "record_repeatable")
        }

    def opening(self, *, wait_for_disk: bool = True, done: str = "") -> str:
        """BEGIN, the settings, and the lock. ``done`` is what the session has as ``pgdbm.done`` after the commit."""
        return self._opening[wait_for_disk].replace(_DONE, literal(done))

    def preamble(self, migration: ParsedMigration, *, wait_for_disk: bool, done: str = "") -> str:
        """The opening, and the look whether somebody else applied it meanwhile."""
        return f"{self.opening(wait_for_disk=wait_for_disk, done=done)};\n{self.look(migration)}"

    def look(self, migration: ParsedMigration) -> str:
        """The look whether somebody else applied it meanwhile (of a repeatable one, this content), then the role."""
        look = self._fill("look_repeatable" if migration.migration.is_repeatable else "look", migration)
        return f"{look};\n{self.enter_role}" if self.enter_role else look

    def record(self, migration: ParsedMigration) -> str:
        """Back from the role, and the history row."""
        record = self._fill("record_repeatable" if migration.migration.is_repeatable else "record", migration)
        return f"{self.leave_role};\n{record}" if self.leave_role else record

    def _fill(self, name: str, migration: ParsedMigration) -> str:
        # The file name last: it may hold anything, also what looks like a slot.
        template = self._templates[name].replace(_CHECKSUM, literal(migration.migration.checksum))
        return template.replace(_FILENAME, literal(migration.filename))


def literal(value: str) -> str:
    """``value`` as an SQL string, whatever standard_conforming_strings is."""
    quoted = "'" + value.replace("'", "''").replace("\\", "\\\\") + "'"
    return f" E{quoted}" if "\\" in value else quoted


@dataclass(frozen=True, slots=True)
class Group:
    """Migrations that travel together in one message; one that does not is a group of its own."""

    migrations: Sequence[ParsedMigration]
    together: bool


def grouped(parsed: Sequence[ParsedMigration], *, together: bool) -> list[Group]:
    """``parsed`` in groups, in order. Only neighbours that are cheap travel together, and not too much at once."""
    groups: list[Group] = []
    cheap: list[ParsedMigration] = []
    length = 0
    for migration in parsed:
        fits = together and migration.cheap
        full = len(cheap) == _MOST_FILES_IN_MESSAGE or length > _MOST_CHARACTERS_IN_MESSAGE
        if cheap and (full or not fits):
            groups.append(Group(cheap, together=True))
            cheap, length = [], 0
        if fits:
            cheap.append(migration)
            length += len(migration.rendered.text)
        else:
            groups.append(Group((migration,), together=False))
    if cheap:
        groups.append(Group(cheap, together=True))
    return groups


@dataclass(frozen=True, slots=True)
class Message:
    """Text for the simple query protocol, with where each file's text begins in it."""

    text: str
    token: str
    migrations: tuple[ParsedMigration, ...]
    starts: tuple[int, ...]

    def committed(self, error_text: str) -> int:
        """How many of the migrations were committed, from the text of the error that ``done`` in runner.sql ends in."""
        match = DONE.search(error_text)
        return int(match[2]) if match and match[1] == self.token else 0

    def locate(self, offset: int) -> tuple[ParsedMigration, int] | None:
        """The migration whose text holds ``offset`` of the message, and the offset in its rendered text."""
        index = bisect_right(self.starts, offset) - 1
        if index < 0:
            return None
        migration = self.migrations[index]
        within = offset - self.starts[index]
        return (migration, within) if within <= len(migration.rendered.text) else None


def compose(composer: Composer, migrations: Sequence[ParsedMigration], last: ParsedMigration | None) -> Message:
    """The message that applies ``migrations``; the commit of ``last`` waits for the disk."""
    token = secrets.token_hex(8)
    parts: list[str] = []
    starts: list[int] = []
    length = 0
    for number, migration in enumerate(migrations, 1):
        done = f"pgdbm:done:{token}:{number}"
        head = composer.preamble(migration, wait_for_disk=migration is last, done=done) + ";\n"
        # The newline ends a comment in the file's last line, the semicolon a last statement without one.
        body = migration.rendered.text + "\n;\n"
        tail = composer.record(migration) + ";\nCOMMIT;\n"
        starts.append(length + len(head))
        parts += (head, body, tail)
        length += len(head) + len(body) + len(tail)
    return Message("".join(parts), token, tuple(migrations), tuple(starts))


def compose_all(composer: Composer, migrations: Sequence[ParsedMigration]) -> str:
    """The text that applies ``migrations`` in one transaction."""
    parts: list[str] = []
    for migration in migrations:
        first = migration is migrations[0]
        parts.append(composer.preamble(migration, wait_for_disk=True) if first else composer.look(migration))
        parts.append(migration.rendered.text + "\n")
        parts.append(composer.record(migration))
    return ";\n".join([*parts, "COMMIT"])
