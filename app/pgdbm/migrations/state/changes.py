"""The differences between two listings of a schema. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .catalog import COLUMN_ORDER

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .catalog import CatalogObject


@dataclass(frozen=True, slots=True)
class Change:
    """A difference. ``before`` is None for an object that was added, ``after`` for one that was removed."""

    kind: Literal["added", "removed", "changed"]
    object_kind: str
    name: str
    before: str | None
    after: str | None


def difference(before: Iterable[CatalogObject], after: Iterable[CatalogObject]) -> tuple[Change, ...]:
    """The changes from ``before`` to ``after``, by kind and name.

    The order of columns is reported only if it has changed among the columns that are in both.
    """
    old = {(one.kind, one.name): one.definition for one in before}
    new = {(one.kind, one.name): one.definition for one in after}
    changes = []
    for kind, name in sorted(old.keys() | new.keys()):
        was, now = old.get((kind, name)), new.get((kind, name))
        if was == now:
            continue
        if was is None:
            changes.append(Change("added", kind, name, None, now))
        elif now is None:
            changes.append(Change("removed", kind, name, was, None))
        elif kind != COLUMN_ORDER or _moved(was, now):
            changes.append(Change("changed", kind, name, was, now))
    # The order of columns is added and removed together with its table.
    return tuple(change for change in changes if change.object_kind != COLUMN_ORDER or change.kind == "changed")


def _moved(was: str, now: str) -> bool:
    before, after = was.split(", "), now.split(", ")
    staying = (Counter(before) & Counter(after)).keys()
    return [name for name in before if name in staying] != [name for name in after if name in staying]
