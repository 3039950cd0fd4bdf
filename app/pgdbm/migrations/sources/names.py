"""File names: the version, the order, and whether a file is a migration. Pure."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from ...patterns import late_pattern

# Tried in this order: V1_2__name, 2024_01_26_name (with or without a time), 001_name or 1.2-name.
_VERSIONS = (
    late_pattern(r"[Vv](\d+(?:[._]\d+)*)__"),
    late_pattern(r"(\d{4}[_-]\d{2}[_-]\d{2}(?:[_-]\d{4,6})?)(?=[_\s-]|$)"),
    late_pattern(r"[Vv]?(\d+(?:\.\d+)*)(?=[_-]|$)"),
)
# The most frequent form, 0001_name, for which the third pattern is tried first.
_COUNTED = late_pattern(r"(?!\d{4}[_-]\d{2}[_-]\d{2})([0-9]{1,20})[_-]")
_SEPARATORS = late_pattern(r"[._-]")
# A leading number that is not a complete version: 001a_name, 002 name, 003.name.
_LEADING_NUMBER = late_pattern(r"(\d+)([A-Za-z0-9]*)")
_OTHER_SUFFIXES = frozenset({"ddl", "dml", "pgsql", "psql"})
_CODE_SUFFIXES = frozenset({"cs", "go", "java", "js", "kt", "php", "py", "rb", "ts"})
_REPEATABLE = "R__"
_DOWN = ".down.sql"

LONGEST_FILENAME = 255
"""In characters; the limit of the history table."""


class Order(NamedTuple):
    """The sort key of file names: those with a number by it (9 before 10), then other names, then repeatable ones."""

    group: int
    numbers: tuple[int, ...]
    suffix: str
    filename: str

    def same_version(self, other: Order) -> bool:
        """Whether only the rest of the names determines the order of two files."""
        return self.group == 0 and self[:3] == other[:3]


@lru_cache(maxsize=32768)
def version_of(filename: str) -> str:
    """The version in a file name, as written; the stem without one."""
    stem = filename.removesuffix(".sql")
    for pattern in _VERSIONS:
        match = pattern.match(stem)
        if match:
            return match[1]
    return stem


@lru_cache(maxsize=32768)
def order_of(filename: str) -> Order:
    """The position of ``filename`` among others, as a sort key."""
    if (counted := _COUNTED.match(filename)) is not None:
        return Order(0, (int(counted[1]),), "", filename)
    if is_repeatable_name(filename):
        return Order(2, (), "", filename)
    numbers = _numbers(_SEPARATORS.split(version_of(filename)))
    suffix = ""
    if numbers is None and (leading := _LEADING_NUMBER.match(filename)) is not None:
        numbers, suffix = _numbers([leading[1]]), leading[2].lower()
    return Order(1, (), "", filename) if numbers is None else Order(0, numbers, suffix, filename)


def _numbers(parts: list[str]) -> tuple[int, ...] | None:
    # Python does not convert longer numbers to int, and no real file has such a name.
    if not all(part.isdecimal() and len(part) <= LONGEST_FILENAME for part in parts):
        return None
    numbers = [int(part) for part in parts]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def has_version(filename: str) -> bool:
    """Whether the file is ordered by a number, rather than by its name."""
    return order_of(filename).group == 0


def is_repeatable_name(filename: str) -> bool:
    """``R__name.sql``."""
    return filename.startswith(_REPEATABLE)


def is_migration_name(name: str) -> bool:
    """``*.sql`` that is not hidden and not a down migration (``*.down.sql``)."""
    return name.endswith(".sql") and not name.startswith(".") and not name.endswith(_DOWN)


def is_misspelt_suffix(name: str) -> bool:
    """Whether only the suffix is wrong: ``002_B.SQL``, or ``002_b.psql`` with a number in front."""
    if name.startswith(".") or name.endswith(".sql"):
        return False
    suffix = name.rpartition(".")[2].lower()
    return suffix == "sql" or (suffix in _OTHER_SUFFIXES and has_version(name))


def is_other_code(name: str) -> bool:
    """Whether another tool might run it as a migration: ``002_seed.py``, with a number in front."""
    return name.rpartition(".")[2] in _CODE_SUFFIXES and has_version(name)


def down_name_of(filename: str) -> str:
    """The name of the down migration of ``filename``: ``NAME.down.sql``."""
    return filename.removesuffix(".sql") + _DOWN


def migration_of(filename: str) -> str:
    """The migration that the down migration ``filename`` reverts; ``filename`` itself if it is not a down migration."""
    return filename.removesuffix(_DOWN) + ".sql" if filename.endswith(_DOWN) else filename
