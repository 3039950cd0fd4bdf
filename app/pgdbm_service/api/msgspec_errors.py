"""The texts of msgspec's errors that the service interprets, because msgspec's exceptions carry no fields.

A test provokes each of them, so that a version of msgspec with different texts is noticed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import msgspec

_UNKNOWN_FIELD = re.compile(r"unknown field `([^`]*)`")
_PATH = re.compile(r" - at (?:`key` in )?`\$\.?([^`]*)`")
_TOO_DEEP = "deserializing"


def unknown_field(message: str) -> str | None:
    """The name of the field that a struct does not have, if ``message`` is about one."""
    found = _UNKNOWN_FIELD.search(message)
    return found[1] if found else None


def path_and_reason(error: msgspec.ValidationError) -> tuple[str, str]:
    """The path of the wrong value, such as ``migrations[0].content``, and what is wrong with it. The path may be
    empty."""
    message = str(error)
    found = _PATH.search(message)
    return (found[1] if found else ""), _PATH.sub("", message).replace("`", "")


def is_nested_too_deeply(error: BaseException) -> bool:
    """Whether a document was refused because its values are nested too deeply."""
    return isinstance(error, RecursionError) and _TOO_DEEP in str(error)
