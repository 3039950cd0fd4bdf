"""SQL in named, described statements.

A file ``area.sql`` holds statements, each under a comment ``-- name: what it is for``. ``{{history}}`` and the like are
filled in by :func:`statement` with identifiers that are quoted already; values travel as parameters.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import Any, cast

_HEADER = re.compile(r"^-- (?P<name>[a-z_]+): .+$(?:\n--.*$)*", re.MULTILINE)
_SLOT = re.compile(r"\{\{(\w+)\}\}")


@cache
def load(area: str) -> dict[str, str]:
    """The statements of ``area.sql`` by name, as written."""
    # From a zip too, as importlib.resources would; but to import that takes longer than all that is read here.
    loader = cast(Any, __spec__.loader)
    text = loader.get_data(f"{__path__[0]}/{area}.sql").decode()
    headers = list(_HEADER.finditer(text))
    ends = [header.start() for header in headers[1:]] + [len(text)]
    return {header["name"]: text[header.end() : end].strip() for header, end in zip(headers, ends, strict=True)}


@lru_cache(maxsize=2048)
def statement(area: str, name: str, **identifiers: str) -> str:
    """Statement ``name`` of ``area.sql`` with its slots filled; an unfilled or unknown slot is a KeyError."""
    return _SLOT.sub(lambda slot: identifiers[slot[1]], load(area)[name])
