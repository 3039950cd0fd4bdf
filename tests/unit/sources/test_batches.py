"""Files that are parsed together have the same statements and errors as files parsed alone."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import pytest

from pgdbm import MigrationFileError
from pgdbm.migrations.sources.batches import in_batches, parse_all, parse_each
from pgdbm.migrations.sources.migration import read_migration
from pgdbm.migrations.sources.parser import ParsedFile, ParsedMigration, parse
from pgdbm.pgparse.tree import statement_node

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
# Each ends, or begins, within a construct that another file could continue.
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
def test_valid_files_in_a_batch_are_parsed_like_single_ones(others: tuple[str, ...]) -> None:
    files = migrations(*others, *reversed(others))
    assert parse_all(files, "app") == [parse(one, "app") for one in files]


def test_any_two_files_in_a_batch_are_parsed_like_single_ones() -> None:
    for pair in permutations(RIGHT + WRONG + ALONE, 2):
        files = migrations(*pair)
        alone = outcome(lambda given=files: [parse(one, "app") for one in given])
        assert outcome(lambda given=files: parse_all(given, "app")) == alone, pair


def test_the_first_invalid_file_is_named() -> None:
    files = migrations("SELECT 1", "VACUUM", "SELECT {{nope}}", "SELEC")
    with pytest.raises(MigrationFileError, match=r"2_x\.sql:1:1: statement 1 \(VACUUM\)"):
        parse_all(files, "app")


def test_a_batch_has_a_maximum_size() -> None:
    files = migrations(*["SELECT 1"] * 200, ALONE[0], "SELECT 2", "SELECT '" + "x" * 70_000 + "'", "SELECT 3")
    batches = list(in_batches(files))
    assert [len(batch) for batch in batches] == [64, 64, 64, 8, 1, 1, 1, 1]
    assert [one for batch in batches for one in batch] == list(files)


@pytest.mark.parametrize("last", ["", ";", ";\n", " ;\r\n", ";\n\n"])
@pytest.mark.parametrize("other", ["SELECT 1", "INSERT INTO t VALUES ('a;\nb')", "VACUUM", "INSERT INTO t VALUES ('"])
def test_data_files_in_a_batch_are_parsed_like_single_ones(last: str, other: str) -> None:
    texts = [f"\n INSERT INTO {{{{tables.t}}}} VALUES ({number}, 'a')" for number in range(200)]
    texts[100] += ";\nDELETE FROM t WHERE id = 1"
    files = migrations(*(text + last for text in texts[:150]), other, *texts[150:])
    assert outcome(lambda: parse_all(files, "app")) == outcome(lambda: [parse(one, "app") for one in files])


def names_at(file: ParsedFile) -> list[str]:
    """Where each tree places its table's name in the text of the file."""
    found = []
    for tree, shift in zip(file.trees, file.shifts, strict=True):
        assert tree is not None
        kind, statement = statement_node(tree)
        start = statement.relation.location + shift
        found.append(f"{kind} {file.migration.rendered.text[start : start + 2]}")
    return found


def test_trees_of_data_files_are_parsed_on_demand() -> None:
    files = migrations(*(f"INSERT INTO a{number % 7} VALUES ({number});\nDELETE FROM b1;" for number in range(200)))
    for number, file in enumerate(parse_each(files, "app")):
        assert names_at(file) == [f"insert_stmt a{number % 7}", "delete_stmt b1"]


@pytest.mark.parametrize(
    ("filename", "content"),
    [
        ("U1__x.sql", "INSERT INTO t VALUES (1);"),
        ("7_x.rollback.sql", "INSERT INTO t VALUES (1);"),
        ("7_x.sql", "INSERT INTO t VALUES (1);\n-- +goose Down\nDELETE FROM t;"),
        ("7_x.sql", "INSERT INTO t VALUES (1);\n-- pgdbm:no-transaction\n"),
    ],
)
def test_data_files_in_a_batch_are_checked_like_single_ones(filename: str, content: str) -> None:
    files = migrations(*("INSERT INTO t VALUES (1);" for _ in range(200)))
    wrong = read_migration(filename, content.encode())
    alone = outcome(lambda: [parse(wrong, "app")])
    assert isinstance(alone, str)
    for position in (0, 100, 200):
        assert outcome(lambda at=position: parse_all((*files[:at], wrong, *files[at:]), "app")) == alone
