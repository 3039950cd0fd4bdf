"""Loads SQL from ``.sql`` files of named, described statements.

A file ``area.sql`` holds statements, each under a comment ``-- name: what it is for``. ``{{history}}`` and the like are
replaced by :func:`statement` with identifiers that are already quoted, or with parts of statements; values are passed
as parameters.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Protocol, cast

from ..patterns import late_pattern

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

_HEADER = late_pattern(r"^-- (?P<name>[a-z_]+): .+$(?:\n--.*$)*", re.MULTILINE)
_SLOT = late_pattern(r"\{\{(\w+)\}\}")


class Statements(Protocol):
    def __call__(self, area: str, name: str, **identifiers: str) -> str:
        """Statement ``name`` of ``area.sql`` with its placeholders replaced; raises KeyError for a missing one."""
        ...


def statements_of(package: ModuleSpec) -> Statements:
    """Reads the statements in the ``.sql`` files of a package, given its ``__spec__``."""

    @cache
    def load(area: str) -> dict[str, str]:
        # Works in a zip archive, like importlib.resources, whose import would take longer than reading all the files.
        loader = cast("Any", package.loader)
        folders = package.submodule_search_locations or []
        text = loader.get_data(f"{folders[0]}/{area}.sql").decode()
        headers = list(_HEADER.finditer(text))
        ends = [header.start() for header in headers[1:]] + [len(text)]
        return {header["name"]: text[header.end() : end].strip() for header, end in zip(headers, ends, strict=True)}

    @lru_cache(maxsize=2048)
    def statement(area: str, name: str, **identifiers: str) -> str:
        return _SLOT.sub(lambda slot: identifiers[slot[1]], load(area)[name])

    return statement


statement = statements_of(__spec__)
