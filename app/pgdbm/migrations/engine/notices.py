"""What the server sends during a migration: notices, and what files took. A statement can raise messages of any size.

asyncpg joins the parts of a message, which blocks the event loop for minutes if the message has 80 MB. So notices are
read here instead of by asyncpg, and error texts are truncated before asyncpg receives them. asyncpg does not return the
rows of a message with several statements either.
"""

from __future__ import annotations

import asyncio
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..results import Notice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ...core.connection import Connection

_NOTICE, _ERROR, _COMPLETE, _ROW = b"NECD"
_HEADER = 5
# The number of columns, and the length of the first one.
_FIRST_COLUMN = _HEADER + 6
_unpack_header = struct.Struct(">BI").unpack_from
_LONGEST_NOTICE = 1_000
_LONGEST_ERROR_FIELD = 8_000
_MOST_NOTICES = 100
_SESSIONS_END = ("57P01", "57P02")
# In a message of several files each ends with COMMIT, or with RELEASE where they share a transaction.
_ENDS = (b"COMMIT\0", b"RELEASE\0")
# What a new row of the history returns, before the milliseconds and the name of its file.
_TOOK = b"pgdbm:took:"


class NoticeCollector:
    """The notices of a run: the first hundred, and the number of the others. And the ``times`` of its files, in
    milliseconds.

    ``files`` are the files of the message that is being executed, of which ``ended`` have ended. ``completed`` counts
    the statements that the server has completed since the caller set it to 0: if an error has no position, this shows
    which statement failed. Statements are counted only if ``is_counting``. ``ends``: the server has announced that
    it ends every session, since another one has crashed or it stops immediately.
    """

    def __init__(self, on_notice: Callable[[Notice], None]) -> None:
        self.on_notice = on_notice
        self.notices: list[Notice] = []
        self.omitted = 0
        self.times: dict[str, int] = {}
        self.files: Sequence[str] = ()
        self.ended = 0
        self.completed = 0
        self.is_counting = False
        self.is_paused = False
        self.ends = False

    def start(self, files: Sequence[str]) -> None:
        self.files, self.ended, self.is_paused = files, 0, False

    def pause(self) -> None:
        """Ignore notices until files start: those of a ROLLBACK after a failure concern pgdbm's own statement."""
        self.is_paused = True

    def add(self, severity: str, sqlstate: str, message: str) -> None:
        self.ends = self.ends or sqlstate in _SESSIONS_END
        if self.is_paused:
            return
        if len(self.notices) >= _MOST_NOTICES:
            self.omitted += 1
            return
        filename = self.files[min(self.ended, len(self.files) - 1)] if self.files else None
        notice = Notice(filename, severity, sqlstate, message)
        self.notices.append(notice)
        self.on_notice(notice)

    def add_time(self, row: bytes) -> None:
        """``row``: ``MILLISECONDS:FILENAME``. Any statement could return it, so only files of the message count."""
        milliseconds, _, name = row.partition(b":")
        filename = name.decode(errors="replace")
        if milliseconds.isdigit() and filename in self.files:
            self.times[filename] = int(milliseconds)

    def discard(self, filename: str) -> None:
        """Delete the notices of a file that is about to run again."""
        self.notices = [one for one in self.notices if one.filename != filename]


@contextmanager
def collected(connection: Connection, collector: NoticeCollector) -> Iterator[None]:
    """Within the block, notices on ``connection`` go to ``collector``, and the texts of errors are bounded."""
    transport: Any = getattr(connection, "_transport", None)
    inner: Any = getattr(connection, "_protocol", None)
    if transport is None or not hasattr(inner, "data_received"):
        yield
        return
    before = transport.get_protocol()
    messages = _MessageFilter(inner, collector)
    transport.set_protocol(messages)
    collector.is_counting = True
    try:
        yield
    finally:
        if messages.is_between_messages and transport.get_protocol() is messages:
            transport.set_protocol(before)


def limit_messages(connection: Connection) -> None:
    """From now on, discard notices on ``connection``, and bound the texts of errors, except in ``collected``."""
    transport: Any = getattr(connection, "_transport", None)
    inner: Any = getattr(connection, "_protocol", None)
    if transport is not None and hasattr(inner, "data_received"):
        transport.set_protocol(_MessageFilter(inner, NoticeCollector(_discard)))


def _discard(_: Notice) -> None:
    return None


class _MessageFilter(asyncio.Protocol):
    """Sits between the transport and asyncpg's protocol."""

    def __init__(self, inner: Any, collector: NoticeCollector) -> None:
        self._inner = inner
        self._collector = collector
        self._head = bytearray()
        self._kind = 0
        self._left = 0
        self._tag = bytearray()
        self._fields: _Fields | None = None

    @property
    def is_between_messages(self) -> bool:
        return not self._left and not self._head

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._inner.connection_lost(exc)

    def eof_received(self) -> bool | None:
        answer: bool | None = self._inner.eof_received()
        return answer

    def data_received(self, data: bytes) -> None:
        position = self._skip_plain(data, 0) if self.is_between_messages else 0
        if position == len(data):
            self._inner.data_received(data)
            return
        passed = bytearray(data[:position])
        while position < len(data):
            if self.is_between_messages and (plain := self._skip_plain(data, position)) > position:
                passed += data[position:plain]
                position = plain
                continue
            if not self._left:
                missing = _HEADER - len(self._head)
                self._head += data[position : position + missing]
                position += missing
                if len(self._head) < _HEADER:
                    break
                self._begin(passed)
                if not self._left:
                    self._end(passed)
                continue
            part = data[position : position + self._left]
            position += len(part)
            self._left -= len(part)
            if self._fields is not None:
                self._fields.feed(part)
            else:
                passed += part
                if self._kind == _COMPLETE:
                    self._tag += part
            if not self._left:
                self._end(passed)
        if passed:
            self._inner.data_received(bytes(passed))

    def _skip_plain(self, data: bytes, position: int) -> int:
        """The end of the complete messages that begin at ``position`` of ``data`` and are passed on unchanged.

        A run receives a dozen messages per file, so this must be fast.
        """
        length = len(data)
        while position + _HEADER <= length:
            kind, size = _unpack_header(data, position)
            end = position + 1 + size
            if end > length or kind in (_NOTICE, _ERROR):
                break
            if kind == _COMPLETE:
                self._collector.completed += 1
                if data[position + _HEADER : end] in _ENDS:
                    self._collector.ended += 1
            elif kind == _ROW and data.startswith(_TOOK, position + _FIRST_COLUMN):
                self._collector.add_time(data[position + _FIRST_COLUMN + len(_TOOK) : end])
            position = end
        return position

    def _begin(self, passed: bytearray) -> None:
        self._kind = self._head[0]
        self._left = int.from_bytes(self._head[1:], "big") - 4
        if self._kind == _NOTICE:
            self._fields = _Fields(_LONGEST_NOTICE)
        elif self._kind == _ERROR:
            self._fields = _Fields(_LONGEST_ERROR_FIELD)
        else:
            passed += self._head
        self._head.clear()

    def _end(self, passed: bytearray) -> None:
        fields, self._fields = self._fields, None
        if fields is not None and self._kind == _ERROR:
            passed += fields.encoded()
        elif fields is not None:
            texts = fields.texts()
            self._collector.add(texts.get("V") or texts.get("S", ""), texts.get("C", ""), texts.get("M", ""))
        elif self._kind == _COMPLETE:
            self._collector.completed += 1
            if self._tag in _ENDS:
                self._collector.ended += 1
            self._tag.clear()


class _Fields:
    """The fields of a notice or an error, each cut to ``longest`` bytes."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._found: list[tuple[int, bytes, int]] = []
        self._kind = 0
        self._text = bytearray()
        self._cut = 0

    def feed(self, part: bytes) -> None:
        position = 0
        while position < len(part):
            if not self._kind:
                self._kind = part[position]
                position += 1
                continue
            end = part.find(0, position)
            stop = end if end >= 0 else len(part)
            kept = min(stop, position + self._longest - len(self._text))
            self._text += part[position:kept]
            self._cut += stop - kept
            position = stop
            if end >= 0:
                self._found.append((self._kind, bytes(self._text), self._cut))
                self._kind, self._cut, position = 0, 0, end + 1
                self._text.clear()

    def texts(self) -> dict[str, str]:
        return {chr(kind): _shown(text, cut) for kind, text, cut in self._found}

    def encoded(self) -> bytes:
        body = b"".join(
            bytes((kind,)) + (_shown(text, cut).encode() if cut else text) + b"\0" for kind, text, cut in self._found
        )
        return b"E" + (len(body) + 5).to_bytes(4, "big") + body + b"\0"


def _shown(text: bytes, cut: int) -> str:
    shown = text.decode(errors="replace")
    return f"{shown}… ({cut:,} more bytes)" if cut else shown
