"""Regular expressions that are compiled when they are first used.

Compiling one takes as long as importing a small module, and a process uses few of them: most are for errors, or for
what other tools write.
"""

from __future__ import annotations

import re
from typing import Any, cast

_METHODS = ("match", "fullmatch", "search", "finditer", "findall", "split", "sub", "subn")


def late_pattern(text: str, flags: int = 0) -> re.Pattern[str]:
    """Like :func:`re.compile`, whose errors are raised by the first use."""
    return cast("re.Pattern[str]", _Late(text, flags))


class _Late:
    """Has the methods of a compiled pattern as attributes once one of them was used: then they are as fast as its
    own."""

    def __init__(self, text: str, flags: int) -> None:
        self._source = text, flags

    def __getattr__(self, name: str) -> Any:
        compiled = re.compile(*self._source)
        for method in _METHODS:
            setattr(self, method, getattr(compiled, method))
        return getattr(compiled, name)
