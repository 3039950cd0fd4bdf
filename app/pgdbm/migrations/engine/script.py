"""SQL scripts for the simple query protocol: whole transactions, with the files and pgdbm's own statements in them.

The script of a transactional migration is: begin, settings, lock, probe of the history, the file, the history row,
commit. Several batchable files share a message, each with a transaction of its own.
"""

from __future__ import annotations

import re
import secrets
from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

from ...core.templating import literal, quote
from ...patterns import late_pattern
from ...pgparse.lexer import statement_spans
from ...sql import statement
from .options import milliseconds_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..sources.parser import ParsedMigration
    from ..state.history import History

DONE = late_pattern(r'"pgdbm:done:([0-9a-f]+):(\d+)"')
LOCK_HELD = '"pgdbm:lock-held"'
ALREADY_APPLIED = '"pgdbm:already-applied"'
"""Part of the server's error message if one of pgdbm's own statements stopped the transaction."""

FIRST_WITH_TRANSACTION_TIMEOUT = 17
_MOST_FILES_IN_MESSAGE = 64
_MOST_CHARACTERS_IN_MESSAGE = 256 * 1024
# While a message is sent, three copies of it are in memory.
_LONGEST_FILE_IN_MESSAGE = 4 * 1024 * 1024
_LONGEST_FILE_WITH_LISTENER = 64 * 1024
# The first five executions of a prepared statement are planned like others.
_WORTH_PREPARING = 16
_BEGIN, _LOCK, _DONE, _FILENAME, _CHECKSUM, _DIGEST, _TOKEN = (
    f"${name}$" for name in ("begin", "lock", "done", "filename", "checksum", "digest", "token")
)
_SET_TRANSACTION = late_pattern(r"SET\s+TRANSACTION\s+(?!SNAPSHOT\b)(?P<modes>.+)\Z", re.IGNORECASE | re.DOTALL)


class OwnStatements(NamedTuple):
    """pgdbm's own statements around each file, with placeholders: the lock, the probe of the history, its new row."""

    lock: str
    probe: str
    record: str


class Prepared(NamedTuple):
    """SQL that prepares pgdbm's own statements at the start of a message, SQL that removes them at its end, and what
    executes them."""

    prepare: str
    deallocate: str
    own: OwnStatements


class ScriptBuilder:
    """Builds the statements around those of the files.

    ``lock_timeout`` is in seconds; None leaves the setting unchanged. With a ``role`` the files run as that role; lock,
    probe and history row run as the connecting user. ``search_path`` is that of the files, None for the connection's
    own.
    ``histories``: the digest of the history that files have to find at the beginning of a transaction, by name.
    """

    def __init__(
        self,
        history: History,
        lock_key: int,
        lock_timeout: float | None,
        server_version: int,
        role: str | None = None,
        search_path: str | None = None,
        histories: Mapping[str, str] | None = None,
    ) -> None:
        self.role = role
        self._lock_key = str(lock_key)
        self._histories = histories or {}
        self._enter = "" if search_path is None else f";\n{statement('runner', 'file_path', path=search_path)}"
        if role is not None:
            self._enter += f";\n{statement('runner', 'enter_role', role=quote(role))}"
        settings = [statement("runner", "settings")]
        if lock_timeout is not None:
            settings.append(statement("runner", "lock_timeout", milliseconds=str(milliseconds_of(lock_timeout))))
        self.session_settings = statement("runner", "session_settings")
        if search_path is not None:
            self.session_settings += f";\n{statement('runner', 'file_path_of_session', path=search_path)}"
        if server_version >= FIRST_WITH_TRANSACTION_TIMEOUT:
            settings.append(statement("runner", "no_transaction_timeout"))
            self.session_settings += f";\n{statement('runner', 'no_transaction_timeout_of_session')}"
        # A message with several statements cannot have parameters. Placeholders with the same value for every file are
        # filled in once.
        self._openings = {
            synchronous: statement(
                "runner",
                "open",
                begin=_BEGIN,
                settings="\n".join([*settings, *([] if synchronous else [statement("runner", "asynchronous_commit")])]),
                lock=_LOCK,
            )
            for synchronous in (True, False)
        }
        self._reopening = statement("runner", "reopen", settings="\n".join(settings))
        self._slots = {"history": history.table, "module": literal(history.module)}
        slots = {**self._slots, "filename": _FILENAME, "checksum": _CHECKSUM}
        self._probe_history = statement("runner", "probe_history", **slots, digest=_DIGEST)
        self._probe_repeatable = statement("runner", "probe_repeatable", **slots)
        self._elapsed = elapsed = statement("runner", "elapsed")
        record = statement("runner", "record", **slots, elapsed=elapsed)
        self._record_repeatable = statement("runner", "record_repeatable", **slots, elapsed=elapsed)
        if role is not None:
            owned = statement("runner", "owned", table_literal=literal(history.table), role=literal(role))
            record, self._record_repeatable = (f"{owned};\n{one}" for one in (record, self._record_repeatable))
        self._own = OwnStatements(
            statement("runner", "lock", key=self._lock_key, done=_DONE), statement("runner", "probe", **slots), record
        )

    def prepared(self, migrations: Sequence[ParsedMigration], token: str) -> Prepared:
        """The statements around ``migrations``, prepared if that is faster.

        ``token`` is unique, because a session of a transaction pooler may have those of an earlier message. A module's
        role is not trusted: its files could replace prepared statements.
        """
        if (
            len(migrations) < _WORTH_PREPARING
            or self.role is not None
            or any(one.may_prepare or one.may_deallocate for one in migrations)
        ):
            return Prepared("", "", self._own)
        values = {"done": _DONE, "filename": _FILENAME, "checksum": _CHECKSUM}

        def with_token(name: str, **slots: str) -> str:
            # The token is filled in last, so that the cache of statements does not fill up.
            return statement("runner", name, token=_TOKEN, **slots).replace(_TOKEN, token)

        return Prepared(
            with_token(
                "prepare",
                lock=statement("runner", "lock", key=self._lock_key, done="$1"),
                probe=statement("runner", "probe", **self._slots, filename="$1"),
                record=statement(
                    "runner", "record", **self._slots, filename="$1", checksum="$2", elapsed=self._elapsed
                ),
            ),
            with_token("deallocate_own"),
            OwnStatements(*(with_token(f"execute_{name}", **values) for name in OwnStatements._fields)),
        )

    def opening(
        self,
        *,
        synchronous_commit: bool = True,
        done: str = "",
        begin: str = "BEGIN",
        own: OwnStatements | None = None,
    ) -> str:
        """BEGIN, the settings, and the lock. After the commit, ``pgdbm.done`` has the value ``done`` in the session."""
        opening = self._openings[synchronous_commit].replace(_LOCK, (own or self._own).lock)
        return opening.replace(_DONE, literal(done)).replace(_BEGIN, begin)

    def preamble(
        self,
        migration: ParsedMigration,
        *,
        synchronous_commit: bool,
        done: str = "",
        begin: str = "BEGIN",
        own: OwnStatements | None = None,
    ) -> str:
        """What precedes a file that begins a transaction. ``own``: pgdbm's statements, if they are prepared."""
        opening = self.opening(synchronous_commit=synchronous_commit, done=done, begin=begin, own=own)
        digest = self._histories.get(migration.filename)
        if digest is not None:
            opening = f"{opening};\n{self._probe_history.replace(_DIGEST, literal(digest))}"
        return f"{opening};\n{self._probed(migration, own)}"

    def next_preamble(self, migration: ParsedMigration, previous: ParsedMigration) -> str:
        """What precedes a file that follows ``previous`` in the same transaction."""
        cleaned = f"{self.cleanup(previous)};\n{self._reopening};\n" if self.leaves_traces(previous) else ""
        return f"{cleaned}{self._probed(migration)}"

    def _probed(self, migration: ParsedMigration, own: OwnStatements | None = None) -> str:
        probe = self._probe_repeatable if migration.migration.is_repeatable else (own or self._own).probe
        return self._fill(probe, migration) + self._enter

    def record(self, migration: ParsedMigration, *, continues: bool = False, own: OwnStatements | None = None) -> str:
        """What follows a file: back to the connecting user, and the history row.

        ``continues``: other files follow in the transaction, and constraints stay deferred for them. ``own``: pgdbm's
        statements, if they are prepared.
        """
        parts: list[str] = []
        if continues:
            parts.append(statement("runner", "check_deferred"))
            if self.leaves_traces(migration):
                parts += [statement("runner", "close_cursors"), statement("runner", "own_user_again")]
        elif self.leaves_traces(migration):
            parts.append(self.closing())
        record = self._record_repeatable if migration.migration.is_repeatable else (own or self._own).record
        return ";\n".join([*parts, self._fill(record, migration)])

    def entering(self) -> str:
        """SQL that sets the search_path and the role of the files; empty without them."""
        return self._enter.removeprefix(";\n")

    def closing(self) -> str:
        """SQL that follows a file that may have set a role: back to the connecting user."""
        return ";\n".join(statement("runner", name) for name in ("fire_deferred", "close_cursors", "own_user_again"))

    def leaves_traces(self, migration: ParsedMigration) -> bool:
        """Whether the session must be cleaned after the file. A module's role is not trusted."""
        return self.role is not None or migration.changes_session

    def cleanup(self, migration: ParsedMigration) -> str:
        """SQL that removes from the session what the file may have left in it."""
        return clean_session(deallocate=migration.may_prepare)

    def _fill(self, template: str, migration: ParsedMigration) -> str:
        # The file name comes last: it may contain anything, even something that looks like a placeholder.
        filled = template.replace(_CHECKSUM, literal(migration.migration.checksum))
        return filled.replace(_FILENAME, literal(migration.filename))


def clean_session(*, deallocate: bool, release_locks: bool = True) -> str:
    """SQL that removes settings, roles, temporary objects, cursors and locks from a session.

    ``deallocate``: prepared statements as well, which takes plpgsql. ``release_locks``: advisory locks as well.
    """
    parts = ["clean", *(["release_locks"] if release_locks else []), *(["deallocate"] if deallocate else [])]
    return ";\n".join(statement("runner", name) for name in parts)


def transaction_modes(migration: ParsedMigration) -> tuple[str, frozenset[int]]:
    """BEGIN with the modes of the file's own BEGIN, and of SET TRANSACTION at its top; the numbers of those statements.

    The server accepts them only before the first query of a transaction, which is pgdbm's own.
    """
    modes: list[str] = [migration.modes] if migration.modes else []
    numbers: set[int] = set()
    for one in migration.statements:
        found = _SET_TRANSACTION.match(migration.text_of(one))
        if found is None or one.traits.is_opaque:
            break
        modes.append(found["modes"])
        numbers.add(one.number)
    return " ".join(["BEGIN", ", ".join(modes)]).rstrip(), frozenset(numbers)


class Group(NamedTuple):
    """Consecutive migrations that may share messages, or a single one that does not."""

    migrations: Sequence[ParsedMigration]
    together: bool


def grouped(parsed: Sequence[ParsedMigration], *, together: bool, has_listener: bool = False) -> list[Group]:
    """``parsed`` in groups, in order. Only consecutive batchable files share messages.

    With a listener a long file is sent statement by statement: the events show its progress.
    """
    longest = _LONGEST_FILE_WITH_LISTENER if has_listener else _LONGEST_FILE_IN_MESSAGE
    groups: list[Group] = []
    batch: list[ParsedMigration] = []
    for migration in parsed:
        if together and migration.batchable and len(migration.rendered.text) <= longest:
            batch.append(migration)
            continue
        if batch:
            groups.append(Group(batch, together=True))
            batch = []
        groups.append(Group((migration,), together=False))
    if batch:
        groups.append(Group(batch, together=True))
    return groups


def fitting(
    migrations: Sequence[ParsedMigration], first: int, most: int = _MOST_FILES_IN_MESSAGE
) -> Sequence[ParsedMigration]:
    """The files from index ``first`` on that share the next message: at most ``most``; none if there are no more."""
    candidates = migrations[first : first + min(most, _MOST_FILES_IN_MESSAGE)]
    length = 0
    for count, migration in enumerate(candidates):
        if length > _MOST_CHARACTERS_IN_MESSAGE:
            return candidates[:count]
        length += len(migration.rendered.text)
    return candidates


class Message(NamedTuple):
    """Text for the simple query protocol, and the offset of each file in it. ``cleanup``: SQL that removes what the
    message leaves in the session if it fails."""

    text: str
    token: str
    migrations: tuple[ParsedMigration, ...]
    starts: tuple[int, ...]
    cleanup: str = ""

    def committed(self, error_text: str) -> int:
        """How many of the migrations were committed, from the error text that ``done`` in runner.sql provokes."""
        match = DONE.search(error_text)
        return int(match[2]) if match and match[1] == self.token else 0

    def locate(self, offset: int) -> tuple[ParsedMigration, int] | None:
        """The migration whose text contains ``offset`` of the message, and the offset in its rendered text."""
        index = bisect_right(self.starts, offset) - 1
        if index < 0:
            return None
        migration = self.migrations[index]
        within = offset - self.starts[index]
        return (migration, within) if within <= len(migration.rendered.text) else None

    def statement_after(self, completed: int, index: int) -> int | None:
        """The offset in the file ``index`` of its statement that follows the ``completed`` first ones of the message.

        None if that is one of pgdbm's own.
        """
        end = 0
        for start, migration in zip(self.starts[:index], self.migrations, strict=False):
            completed -= _count(self.text[end:start]) + len(migration.statements)
            end = start + len(migration.rendered.text)
        completed -= _count(self.text[end : self.starts[index]])
        statements = self.migrations[index].statements
        return statements[completed].start if 0 <= completed < len(statements) else None


def _count(sql: str) -> int:
    return sum(1 for _ in statement_spans(sql))


def compose(script: ScriptBuilder, migrations: Sequence[ParsedMigration], last: ParsedMigration | None) -> Message:
    """The message that applies ``migrations``. The commit of ``last`` is synchronous."""
    token = secrets.token_hex(8)
    prepare, cleanup, own = script.prepared(migrations, token)
    parts = [f"{prepare}\n"]
    starts: list[int] = []
    length = len(parts[0])
    for number, migration in enumerate(migrations, 1):
        done = f"pgdbm:done:{token}:{number}"
        head = script.preamble(migration, synchronous_commit=migration is last, done=done, own=own) + ";\n"
        # The newline ends a comment on the last line of the file; the semicolon ends a last statement that has none.
        body = migration.rendered.text + "\n;\n"
        tail = script.record(migration, own=own) + ";\nCOMMIT;\n"
        if script.leaves_traces(migration):
            tail += script.cleanup(migration) + ";\n"
        starts.append(length + len(head))
        parts += (head, body, tail)
        length += len(head) + len(body) + len(tail)
    return Message("".join([*parts, cleanup]), token, tuple(migrations), tuple(starts), cleanup)


def compose_all(script: ScriptBuilder, migrations: Sequence[ParsedMigration]) -> str:
    """The text that applies ``migrations`` in one transaction.

    Nothing is prepared: with many savepoints, each execution would take longer than the one before.
    """
    parts: list[str] = []
    previous: ParsedMigration | None = None
    for migration in migrations:
        if previous is None:
            parts.append(script.preamble(migration, synchronous_commit=True))
        else:
            parts.append(script.next_preamble(migration, previous))
        parts.append(migration.rendered.text + "\n")
        parts.append(script.record(migration, continues=migration is not migrations[-1]))
        previous = migration
    return ";\n".join([*parts, "COMMIT"])
