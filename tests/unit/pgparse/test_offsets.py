"""Offsets in bytes and in characters, even where a block of bytes ends within a character."""

from __future__ import annotations

import pytest

from pgdbm.pgparse.offsets import CharacterOffsets


@pytest.mark.parametrize("text", ["", "plain", "aé€😀" * 3_000, "😀" * 3_000, "x" * 4_095 + "é" * 10, "é" * 2_048])
def test_offsets(text: str) -> None:
    offsets = CharacterOffsets(text)
    expected = 0
    for index, character in enumerate([*text, ""]):
        assert offsets.of_byte(expected) == index
        assert offsets.to_byte(index) == expected
        expected += len(character.encode())
