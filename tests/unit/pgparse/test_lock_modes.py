"""The eight lock modes: their order, their names, what conflicts with what."""

from __future__ import annotations

from itertools import product

import pytest

from pgdbm.pgparse.lock_modes import LockMode, StatementLock, strongest

# Table 13.2 of PostgreSQL's documentation, row by row: "x" where the mode of the row conflicts with that of the column.
CONFLICTS = [".......x", "......xx", "....xxxx", "...xxxxx", "..xx.xxx", "..xxxxxx", ".xxxxxxx", "xxxxxxxx"]


@pytest.mark.parametrize(("held", "wanted"), list(product(LockMode, LockMode)))
def test_conflicts_are_those_of_the_documentation(held: LockMode, wanted: LockMode) -> None:
    expected = CONFLICTS[held - 1][wanted - 1] == "x"
    assert (wanted in held.conflicts) is expected
    assert (held in wanted.conflicts) is expected


@pytest.mark.parametrize(
    ("mode", "sql", "pg_locks", "blocks"),
    [
        (LockMode.ACCESS_SHARE, "ACCESS SHARE", "AccessShareLock", "nothing"),
        (LockMode.ROW_SHARE, "ROW SHARE", "RowShareLock", "nothing"),
        (LockMode.ROW_EXCLUSIVE, "ROW EXCLUSIVE", "RowExclusiveLock", "nothing"),
        (LockMode.SHARE_UPDATE_EXCLUSIVE, "SHARE UPDATE EXCLUSIVE", "ShareUpdateExclusiveLock", "schema changes"),
        (LockMode.SHARE, "SHARE", "ShareLock", "writes"),
        (LockMode.SHARE_ROW_EXCLUSIVE, "SHARE ROW EXCLUSIVE", "ShareRowExclusiveLock", "writes"),
        (LockMode.EXCLUSIVE, "EXCLUSIVE", "ExclusiveLock", "writes"),
        (LockMode.ACCESS_EXCLUSIVE, "ACCESS EXCLUSIVE", "AccessExclusiveLock", "reads and writes"),
    ],
)
def test_each_mode_has_its_names_and_what_it_blocks(mode: LockMode, sql: str, pg_locks: str, blocks: str) -> None:
    assert mode.sql == sql
    assert LockMode.from_pg_locks(pg_locks) is mode
    assert mode.blocks == blocks


def test_an_unknown_mode_of_pg_locks_is_an_error() -> None:
    with pytest.raises(KeyError):
        LockMode.from_pg_locks("SIReadLock")


def test_one_lock_per_relation_stays_and_it_is_the_strongest() -> None:
    locks = [
        StatementLock(LockMode.ACCESS_SHARE, "b"),
        StatementLock(LockMode.EXCLUSIVE, "a"),
        StatementLock(LockMode.ACCESS_EXCLUSIVE, "b"),
        StatementLock(LockMode.SHARE, None),
        StatementLock(LockMode.ROW_SHARE, "a"),
    ]
    assert strongest(locks) == (
        StatementLock(LockMode.ACCESS_EXCLUSIVE, "b"),
        StatementLock(LockMode.EXCLUSIVE, "a"),
        StatementLock(LockMode.SHARE, None),
    )
    assert strongest([]) == ()
