"""Closes a connection on which the database server's messages are malformed."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any

import asyncpg.protocol
import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

    # asyncpg's class is not generic at run time.
    _Protocol = asyncpg.protocol.Protocol[Any]
else:
    _Protocol = asyncpg.protocol.Protocol

_HEADER_SIZE = 5
_read_header = Struct("!BI").unpack_from
_TYPES = b"123ACDEGHIKNRSTVWZcdnstv"
# The length includes its own four bytes.
_SHORTEST = 4
_LONGEST = 0x3FFFFFFF
_INTEGER = Struct("!I")
_SASL, _MD5 = 10, 5
_ROW = ord("D")

logger = structlog.get_logger("pgdbm_service")


def _has_two_strings(data: bytes, start: int, end: int) -> bool:
    return data.count(0, start, end) > 1


def _has_process_and_two_strings(data: bytes, start: int, end: int) -> bool:
    return _has_two_strings(data, start + _INTEGER.size, end)


def _ends_list(data: bytes, start: int, end: int) -> bool:
    """Whether the strings, and their list, are terminated."""
    return data.endswith(b"\0\0", start, end) or data[start:end] == b"\0"


def _ends_string(data: bytes, start: int, end: int) -> bool:
    return data.endswith(b"\0", start, end)


def _is_state(_: bytes, start: int, end: int) -> bool:
    return end - start == 1


def _is_key(_: bytes, start: int, end: int) -> bool:
    return end - start >= 2 * _INTEGER.size


def _is_authentication(data: bytes, start: int, end: int) -> bool:
    if end - start < _INTEGER.size:
        return False
    (method,) = _INTEGER.unpack_from(data, start)
    if method == _MD5:
        return _is_key(data, start, end)
    return method != _SASL or _ends_list(data, start + _INTEGER.size, end)


# The messages that asyncpg reads without checking their length. DataRow is not one of them.
_CONTENTS: dict[int, Callable[[bytes, int, int], bool]] = {
    ord("A"): _has_process_and_two_strings,
    ord("C"): _ends_string,
    ord("E"): _ends_list,
    ord("K"): _is_key,
    ord("N"): _ends_list,
    ord("R"): _is_authentication,
    ord("S"): _has_two_strings,
    ord("Z"): _is_state,
}
_CHECKS = {kind: _CONTENTS.get(kind) for kind in _TYPES}


def check_messages() -> None:
    """Check the messages of the database server on every connection that this process opens from now on."""
    # asyncpg creates its protocol by this name, and has no option for another.
    asyncpg.protocol.__dict__["Protocol"] = CheckedProtocol


class CheckedProtocol(_Protocol):
    """Passes on only complete messages, and closes the connection if one is malformed.

    asyncpg does not check lengths, and assumes that strings are terminated. If they are not, it reads outside its
    buffer, and the process may crash.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._incomplete: list[bytes] = []
        self._received = 0
        self._needed = 0

    def data_received(self, data: Any) -> None:
        if self._incomplete:
            self._incomplete.append(data)
            self._received += len(data)
            if self._received < self._needed:
                return
            data = b"".join(self._incomplete)
            self._incomplete.clear()
        position, size = 0, len(data)
        needed = _HEADER_SIZE
        last_header = size - needed
        while position <= last_header:
            kind, length = _read_header(data, position)
            end = position + 1 + length
            # Most messages are rows that others follow.
            while kind == _ROW and length >= _SHORTEST and end <= last_header:
                position = end
                kind, length = _read_header(data, position)
                end = position + 1 + length
            if _SHORTEST <= length <= _LONGEST and kind in _CHECKS:
                if end > size:
                    needed = 1 + length
                    break
                check = _CHECKS[kind]
                if check is None or check(data, position + _HEADER_SIZE, end):
                    position = end
                    continue
            logger.warning("malformed message of the database server", type=chr(kind), length=length)
            self._close()
            return
        if position == size:
            super().data_received(data)
            return
        self._incomplete.append(data[position:])
        self._received, self._needed = size - position, needed
        if position:
            super().data_received(data[:position])

    def connection_made(self, transport: Any) -> None:
        self._close = transport.abort
        super().connection_made(transport)
