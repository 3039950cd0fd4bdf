"""What a module depends on, and what depends on it, as trees with their states. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..api.modules import ModuleDetail

_DEEPEST = 10


class Dependency(NamedTuple):
    """``version`` is the required version; ``state`` is None if the module is not registered."""

    name: str
    version: str
    state: str | None
    below: list[Dependency]


def dependency_tree(modules: Sequence[ModuleDetail], name: str) -> list[Dependency]:
    """What the module ``name`` depends on, with the dependencies of each module below it."""
    by_name = {module.name: module for module in modules}

    def of(name: str, above: tuple[str, ...]) -> list[Dependency]:
        module = by_name.get(name)
        if module is None or len(above) >= _DEEPEST:
            return []
        found = []
        for wanted in module.depends_on:
            other, _, version = wanted.partition("@")
            known = by_name.get(other)
            below = [] if other in above else of(other, (*above, other))
            found.append(Dependency(other, version, None if known is None else known.state, below))
        return found

    return of(name, (name,))
