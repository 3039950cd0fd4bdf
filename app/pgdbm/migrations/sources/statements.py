"""The statements of a file: where each is in the text, and its traits. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple, overload

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet

    from ...pgparse.traits import Traits
    from .psql_scripts import CopyData


class Statement(NamedTuple):
    """A statement of a file. ``start`` and ``end`` are offsets in the rendered text, in characters.

    ``copy_data``: the rows for a ``COPY … FROM stdin``, to be sent with the COPY protocol; None for other statements.
    """

    number: int
    start: int
    end: int
    traits: Traits
    copy_data: CopyData | None = None


def without(statements: Sequence[Statement], indexes: AbstractSet[int]) -> Sequence[Statement]:
    """``statements`` without those at ``indexes``, numbered from 1 again."""
    kept = (one for index, one in enumerate(statements) if index not in indexes)
    if not isinstance(statements, ManyStatements):
        return tuple(one._replace(number=number) for number, one in enumerate(kept, 1))
    many = ManyStatements()
    for one in kept:
        many.append(one.start, one.end, one.traits)
    return many


def distinct_traits(statements: Sequence[Statement]) -> Collection[Traits]:
    """The traits of ``statements``; in a long file, each distinct one once."""
    if isinstance(statements, ManyStatements):
        return statements.distinct_traits
    return [one.traits for one in statements]


class ManyStatements(Sequence[Statement]):
    """The statements of a long file, in a tenth of the memory: each one is created when it is accessed."""

    def __init__(self) -> None:
        self._starts = array("q")
        self._ends = array("q")
        self._traits: list[Traits] = []
        self._known: dict[Traits, Traits] = {}

    def append(self, start: int, end: int, traits: Traits) -> None:
        """Add a statement. Most statements of a long file have the same traits as others."""
        self._starts.append(start)
        self._ends.append(end)
        self._traits.append(self._known.setdefault(traits, traits))

    @property
    def distinct_traits(self) -> Collection[Traits]:
        """The distinct traits of the statements."""
        return self._known

    def __len__(self) -> int:
        return len(self._traits)

    def __iter__(self) -> Iterator[Statement]:
        for number, (start, end, traits) in enumerate(zip(self._starts, self._ends, self._traits, strict=True), 1):
            yield Statement(number, start, end, traits)

    @overload
    def __getitem__(self, index: int) -> Statement: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Statement, ...]: ...
    def __getitem__(self, index: int | slice) -> Statement | tuple[Statement, ...]:
        if isinstance(index, slice):
            numbers = range(1, len(self) + 1)[index]
            found = zip(numbers, self._starts[index], self._ends[index], self._traits[index], strict=True)
            return tuple([Statement(*one) for one in found])
        number = index if index >= 0 else index + len(self)
        return Statement(number + 1, self._starts[number], self._ends[number], self._traits[number])
