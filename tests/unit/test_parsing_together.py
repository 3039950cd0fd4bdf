"""Many files are parsed in one go; what each of them means, and whether it is wrong, is its own affair."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import pytest

from pgdbm import MigrationFileError
from pgdbm.migrations.batches import in_batches, parse_all
from pgdbm.migrations.files import read_migration
from pgdbm.migrations.parser import ParsedMigration, parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgdbm.migrations import Migration

RIGHT = (
    "SELECT 1",
    "SELECT 1;",
    "SELECT 1; -- one\nSELECT 2 -- two",
    "\n\n  SELECT 1 ; ;; SELECT 2\n;",
    "CREATE TABLE {{tables.t}} (id int);\nINSERT INTO {{tables.t}} VALUES (1);\n\n",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT 2; END",
    "SELECT $$;$$, ';', E'\\';'",
    "-- pgdbm:no-transaction\nVACUUM",
)
# Each ends, or begins, in the middle of something that another could go on with.
WRONG = (
    "SELECT '",
    "'",
    "SELECT $$",
    "$$",
    'SELECT "',
    '"',
    "SELECT 1; /*",
    "*/ SELECT 2",
    "SELECT (",
    ")",
    "SELECT 1 UNION",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1",
    "SELECT 2; END",
    "\\d",
)
ALONE = ("SELECT 'ä'", "/* why */ SELECT 1")


def migrations(*texts: str) -> tuple[Migration, ...]:
    return tuple(read_migration(f"{number}_x.sql", text.encode()) for number, text in enumerate(texts, 1))


def outcome(parsed: Callable[[], list[ParsedMigration]]) -> object:
    try:
        return parsed()
    except MigrationFileError as error:
        return str(error)


@pytest.mark.parametrize("others", [RIGHT, RIGHT + ALONE])
def test_files_that_are_right(others: tuple[str, ...]) -> None:
    files = migrations(*others, *reversed(others))
    assert parse_all(files, "app") == [parse(one, "app") for one in files]


def test_any_two_of_them() -> None:
    for pair in permutations(RIGHT + WRONG + ALONE, 2):
        files = migrations(*pair)
        alone = outcome(lambda given=files: [parse(one, "app") for one in given])
        assert outcome(lambda given=files: parse_all(given, "app")) == alone, pair


def test_it_is_the_first_that_is_wrong_which_is_named() -> None:
    files = migrations("SELECT 1", "VACUUM", "SELECT {{nope}}", "SELEC")
    with pytest.raises(MigrationFileError, match=r"2_x\.sql:1:1: statement 1 \(VACUUM\)"):
        parse_all(files, "app")


def test_no_more_than_so_many_at_once() -> None:
    files = migrations(*["SELECT 1"] * 200, ALONE[0], "SELECT 2", "SELECT '" + "x" * 70_000 + "'", "SELECT 3")
    batches = list(in_batches(files))
    assert [len(batch) for batch in batches] == [64, 64, 64, 8, 1, 2, 1]
    assert [one for batch in batches for one in batch] == list(files)
