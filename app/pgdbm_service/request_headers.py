"""Headers of a request as the server hands them over: to look for one takes less than to make a mapping of all."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from litestar.types import Scope


def header_of(scope: Scope, name: bytes) -> str | None:
    """The first header called ``name``, which is in lower case as servers give them; None where there is none."""
    for there, value in scope["headers"]:
        if there == name:
            return value.decode("latin-1")
    return None
