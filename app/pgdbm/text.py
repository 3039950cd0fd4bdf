"""Text for messages: punctuates and shortens text from other software, and describes objects of a schema."""

from __future__ import annotations

_LONGEST = 2_000
_ENDS = (".", "?", "!", "…")
_ATTRIBUTES = {"owner": "of", "comment": "on", "privileges": "on"}


def error_text(error: BaseException) -> str:
    """The text of ``error``, or the name of its class if it has none, as with asyncio's TimeoutError."""
    return str(error) or type(error).__name__


def sentence(text: str) -> str:
    """``text`` with a full stop, unless it already ends with a punctuation mark."""
    return text if text.endswith(_ENDS) else f"{text}."


def bounded(text: str) -> str:
    """``text``, cut to two thousand characters: a statement may put megabytes into its error."""
    if len(text) <= _LONGEST:
        return text
    return f"{text[:_LONGEST]}… ({len(text) - _LONGEST:,} more characters)"


def object_in_words(kind: str, name: str) -> str:
    """An object of a schema as drift lists it, ``("owner", "table orders")``, as a phrase: owner of table orders."""
    if kind in _ATTRIBUTES:
        name = "the schema" if name == "schema {{schema}}" else name
        return f"{kind} {_ATTRIBUTES[kind]} {name}"
    return "the schema" if kind == "schema" else f"{kind} {name}"
