"""What is known about a table, in words: its rows, its size, and how heavily it is used. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

_COUNTS = ("", " k", " M", " G", " T")
_BYTES = (" B", " kB", " MB", " GB", " TB")
_PERIODS = (("s", 1), ("min", 60), ("h", 3_600), ("d", 86_400))


class Lock(Protocol):
    """A lock of a statement, with what is known about its table: see TableUse."""

    @property
    def relation(self) -> str | None: ...
    @property
    def reads_per_s(self) -> float | None: ...
    @property
    def writes_per_s(self) -> float | None: ...
    @property
    def statistics_since(self) -> datetime | None: ...
    @property
    def longest_transaction_s(self) -> float | None: ...


class Statement(Protocol):
    @property
    def blocks(self) -> str: ...
    @property
    def locks(self) -> Sequence[Lock]: ...


def content_in_words(rows: int | None, size_bytes: int | None) -> str:
    """Such as ``2.0 k rows, 164 kB``; ``no rows`` where there are none, and ``rows not counted yet`` for None."""
    if rows == 0:
        return "no rows"
    counted = "rows not counted yet" if rows is None else f"{short(rows)} row{'' if rows == 1 else 's'}"
    return counted if size_bytes is None else f"{counted}, {size_in_words(size_bytes)}"


def use_in_words(
    reads_per_s: float | None,
    writes_per_s: float | None,
    statistics_since: datetime | None,
    longest_transaction_s: float | None,
) -> str:
    """Such as ``40 reads/s, 3 writes/min since 2026-01-31; a transaction has used it for 12 min``.

    Empty if neither is known.
    """
    parts = []
    if reads_per_s is not None and writes_per_s is not None:
        used = (
            f"{_rate(reads_per_s, 'read')}, {_rate(writes_per_s, 'write')}"
            if reads_per_s + writes_per_s
            else "not used"
        )
        parts.append(used if statistics_since is None else f"{used} since {statistics_since:%Y-%m-%d}")
    if longest_transaction_s is not None:
        parts.append(f"a transaction has used it for {_age(longest_transaction_s)}")
    return "; ".join(parts)


def used_tables(statements: Iterable[Statement]) -> dict[str, str]:
    """How heavily the tables are used whose locks make other sessions wait, by table; without tables for which it is
    unknown."""
    return {
        lock.relation: words
        for statement in statements
        if statement.blocks != "nothing"
        for lock in statement.locks
        if lock.relation is not None and (words := use_of(lock))
    }


def use_of(lock: Lock) -> str:
    """The result of ``use_in_words`` for the table of ``lock``."""
    return use_in_words(lock.reads_per_s, lock.writes_per_s, lock.statistics_since, lock.longest_transaction_s)


def size_in_words(size_bytes: int) -> str:
    """Such as ``12 GB``."""
    return short(size_bytes, _BYTES)


def short(number: int, units: tuple[str, ...] = _COUNTS) -> str:
    """``number`` with two or three digits and a unit: ``812``, ``1.2 k``, ``41 M``; with units of bytes, ``12 GB``."""
    amount = float(number)
    for unit in units[:-1]:
        if round(amount) < 1000:
            return f"{amount:.1f}{unit}" if 0 < amount < 9.95 and unit != units[0] else f"{amount:.0f}{unit}"
        amount /= 1000
    return f"{amount:.1f}{units[-1]}"


def _rate(per_s: float, noun: str) -> str:
    """Per the shortest period in which it happens at least once: ``40 reads/s``, ``1 write/h``."""
    if not per_s:
        return f"no {noun}s"
    for unit, seconds in _PERIODS:
        number = round(per_s * seconds)
        if number >= 1:
            return f"{short(number)} {noun}{'' if number == 1 else 's'}/{unit}"
    return f"less than 1 {noun}/d"


def _age(seconds: float) -> str:
    unit, length = next((one for one in reversed(_PERIODS) if seconds >= one[1]), _PERIODS[0])
    return f"{int(seconds // length)} {unit}"
