"""Converts offsets in bytes, which libpg_query counts, to offsets in characters, which Python counts. Pure."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from functools import cached_property

_BLOCK = 4096
_LONG = 1024 * 1024
_CONTINUATION_BYTES = bytes(range(0x80, 0xC0))


class CharacterOffsets:
    """The offsets in one text. Each conversion takes the same time, wherever the offset is in the text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._is_ascii = text.isascii()

    @cached_property
    def _before_block(self) -> array[int]:
        """The number of bytes before each block of characters."""
        counts = array("q", (0,))
        for start in range(0, len(self._text) - _BLOCK, _BLOCK):
            counts.append(counts[-1] + len(self._text[start : start + _BLOCK].encode()))
        return counts

    def of_byte(self, offset: int) -> int:
        """The offset in characters of the character that begins at ``offset``, in bytes."""
        if self._is_ascii:
            return offset
        block = bisect_right(self._before_block, offset) - 1
        begin = block * _BLOCK
        encoded = self._text[begin : begin + _BLOCK].encode()
        return begin + _characters_in(encoded[: offset - self._before_block[block]])

    def to_byte(self, offset: int) -> int:
        """The offset in bytes of the character at ``offset``."""
        if self._is_ascii:
            return offset
        block = min(offset // _BLOCK, len(self._before_block) - 1)
        return self._before_block[block] + len(self._text[block * _BLOCK : offset].encode())


def _characters_in(encoded: bytes) -> int:
    return len(encoded.translate(None, _CONTINUATION_BYTES))


def size_in_bytes(text: str, start: int, end: int) -> int:
    """The length in bytes of ``text`` between two offsets in characters, without copying all of it."""
    if text.isascii():
        return end - start
    return sum(len(text[begin : min(begin + _LONG, end)].encode()) for begin in range(start, end, _LONG))
