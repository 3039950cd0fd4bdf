"""Prepares text from other software for messages: its length, its punctuation."""

from __future__ import annotations

_LONGEST = 2_000
_ENDS = (".", "?", "!", "…")


def sentence(text: str) -> str:
    """``text`` with a full stop, unless it already ends with a punctuation mark."""
    return text if text.endswith(_ENDS) else f"{text}."


def bounded(text: str) -> str:
    """``text``, cut to two thousand characters: a statement may put megabytes into its error."""
    if len(text) <= _LONGEST:
        return text
    return f"{text[:_LONGEST]}… ({len(text) - _LONGEST:,} more characters)"
