"""The steps that replace a statement, and how they are divided into files. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

from ...sources.names import LONGEST_FILENAME, order_of, version_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

_VERSIONED = re.compile(r"(?P<version>[Vv]?\d+(?:[._]\d+)*?)(?P<rest>(?:__|[_-]).*)?\.sql\Z")
_MOST_PARTS = 1000
NO_TRANSACTION = "-- pgdbm:no-transaction"


class Place(Enum):
    """Where a statement runs."""

    SAME = auto()
    """In the transaction of the statement before it."""
    NEW = auto()
    """The first in the transaction of a file."""
    ALONE = auto()
    """In a separate file."""
    BACKFILL = auto()
    """In a file of its own, which is a backfill and has its header."""
    OUTSIDE = auto()
    """Outside a transaction."""


class Step(NamedTuple):
    """A statement, with its semicolon. ``statement`` is the number of the one in the file that it replaces."""

    sql: str
    place: Place = Place.SAME
    statement: int = 0


class Replacement(NamedTuple):
    """The steps that replace a statement, the rules whose findings they settle, and what to check first."""

    steps: list[Step]
    rules: frozenset[str]
    note: str | None = None


@dataclass(frozen=True, slots=True)
class FixFile:
    """A file of a fix, or the part of it that replaces one statement."""

    filename: str
    sql: str


@dataclass(frozen=True, slots=True)
class Fix:
    """The safer form. ``files``, in this order, have the same result without the long lock.

    Without files, ``note`` says what to do instead; with files, it says what to check before using them.
    """

    files: tuple[FixFile, ...]
    note: str | None = None


class StepGroup(NamedTuple):
    """The steps of one file."""

    steps: list[Step]
    transactional: bool


def divided(steps: Iterable[Step]) -> list[StepGroup]:
    """The files for ``steps``, in order."""
    groups: list[StepGroup] = []
    previous: Place | None = None
    for step in steps:
        outside = step.place is Place.OUTSIDE
        joins = step.place is Place.SAME and previous in (Place.SAME, Place.NEW)
        if joins or (outside and previous is Place.OUTSIDE):
            groups[-1].steps.append(step)
        else:
            groups.append(StepGroup([step], not outside))
        previous = step.place
    return groups


def names_of(filename: str, count: int, others: Collection[str]) -> list[str] | None:
    """Names for ``count`` files that replace ``filename``, which is the first of them; None if there are none.

    They sort between it and the next one of ``others``, the names of all migrations.
    """
    names = [filename]
    if count == 1:
        return names
    match = _VERSIONED.match(filename)
    if match is None or version_of(filename) != match["version"]:
        return None
    this = order_of(filename)
    after = min((order for order in map(order_of, others) if order > this), default=None)
    for number in range(1, _MOST_PARTS):
        name = f"{match['version']}.{number}{match['rest'] or ''}.sql"
        order = order_of(name)
        if after is not None and (order >= after or order.same_version(after)):
            return None
        if len(name) <= LONGEST_FILENAME and order > order_of(names[-1]) and not order.same_version(this):
            names.append(name)
        if len(names) == count:
            return names
    return None
