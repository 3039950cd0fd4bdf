"""The message that carries transactions to the server: which files share one, and the offset of each."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdbm.core.templating import literal
from pgdbm.migrations.engine.options import milliseconds_of
from pgdbm.migrations.engine.script import Message, ScriptBuilder, compose, fitting, grouped
from pgdbm.migrations.sources.migration import read_migration
from pgdbm.migrations.sources.parser import ParsedMigration, parse
from pgdbm.migrations.state.history import History

BATCHABLE = "CREATE TABLE {{tables.t}} (id int)"
COSTLY = "UPDATE {{tables.t}} SET id = 1"


def parsed(number: int, content: str) -> ParsedMigration:
    return parse(read_migration(f"{number:03}.sql", content.encode()), "app")


def sizes(*contents: str, together: bool = True) -> list[tuple[int, bool]]:
    files = [parsed(number, content) for number, content in enumerate(contents, 1)]
    groups = grouped(files, together=together)
    assert [one for group in groups for one in group.migrations] == files
    return [(len(group.migrations), group.together) for group in groups]


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        ([], []),
        ([BATCHABLE], [(1, True)]),
        ([BATCHABLE] * 3, [(3, True)]),
        ([COSTLY], [(1, False)]),
        ([BATCHABLE, COSTLY, BATCHABLE, BATCHABLE], [(1, True), (1, False), (2, True)]),
        ([BATCHABLE, "-- pgdbm:no-transaction\nVACUUM", BATCHABLE], [(1, True), (1, False), (1, True)]),
    ],
)
def test_neighbors_that_are_batchable_share_a_message(contents: list[str], expected: list[tuple[int, bool]]) -> None:
    assert sizes(*contents) == expected


def test_every_file_has_a_message_of_its_own_where_each_is_reported() -> None:
    assert sizes(BATCHABLE, BATCHABLE, together=False) == [(1, False), (1, False)]


def messages(*contents: str) -> list[int]:
    """How many files each message of a group has."""
    files = [parsed(number, content) for number, content in enumerate(contents, 1)]
    found, position = [], 0
    while part := fitting(files, position):
        found.append(len(part))
        position += len(part)
    assert position == len(files)
    return found


def test_a_message_is_limited_in_files_and_characters() -> None:
    assert messages(*[BATCHABLE] * 200) == [64, 64, 64, 8]
    long = f"COMMENT ON TABLE {{{{tables.t}}}} IS '{'x' * 100_000}'"
    assert messages(*[long] * 12) == [3, 3, 3, 3]
    # The text of a very long file would be in memory several times.
    very_long = f"COMMENT ON TABLE {{{{tables.t}}}} IS '{'x' * 5_000_000}'"
    assert sizes(BATCHABLE, very_long, BATCHABLE) == [(1, True), (1, False), (1, True)]


@pytest.mark.parametrize(
    ("count", "role", "more", "is_prepared"),
    [
        (40, None, "", True),
        # The first five executions are planned like others.
        (4, None, "", False),
        # The role could replace what is executed as the connecting user.
        (40, "module_role", "", False),
        (40, None, "DEALLOCATE ALL;", False),
        (40, None, "PREPARE mine AS SELECT 1;", False),
    ],
)
def test_when_the_own_statements_are_prepared(count: int, role: str | None, more: str, is_prepared: bool) -> None:
    script = ScriptBuilder(History("app", "schema_migrations", "m"), 1, None, 18, role)
    files = [parsed(number, BATCHABLE) for number in range(count - 1)] + [parsed(count, f"SELECT 1;{more}")]
    message = compose(script, files, None)
    prepared = re.findall(r"^PREPARE pgdbm_(\w+)_\w+ ", message.text, re.MULTILINE)
    executed = re.findall(r"^EXECUTE pgdbm_(\w+)_\w+ ", message.text, re.MULTILINE)
    assert prepared == (["lock", "probe", "record"] if is_prepared else [])
    assert sorted(executed) == sorted(prepared * count)
    assert message.text.endswith(message.cleanup)
    assert message.cleanup.count("DEALLOCATE") == len(prepared)
    for file, start in zip(files, message.starts, strict=True):
        assert message.text[start:].startswith(file.rendered.text)


@pytest.mark.parametrize(
    ("value", "expected"), [("", "''"), ("a", "'a'"), ("it's", "'it''s'"), ("C:\\x", " E'C:\\\\x'"), ("ö", "'ö'")]
)
def test_a_literal_is_quoted_whatever_standard_conforming_strings_is(value: str, expected: str) -> None:
    assert literal(value) == expected


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_a_literal_is_read_back_by_the_parser(value: str) -> None:
    from pgdbm.pgparse.parse import parse_tree

    (raw,) = parse_tree(f"SELECT {literal(value)}")
    assert raw.stmt.select_stmt.target_list[0].res_target.val.a_const.sval.sval == value


@pytest.fixture
def message() -> Message:
    first, second = parsed(1, "SELECT 1"), parsed(2, "SELECT 22")
    text = "BEGIN;SELECT 1;COMMIT;BEGIN;SELECT 22;COMMIT"
    return Message(text, "ab", (first, second), (text.index("SELECT 1"), text.index("SELECT 22")))


@pytest.mark.parametrize(
    ("at", "expected"),
    [("BEGIN;SELECT 1", None), ("SELECT 1", (1, 0)), ("1;", (1, 7)), ("SELECT 22", (2, 0)), ("2;COMMIT", (2, 8))],
)
def test_an_offset_in_the_message_belongs_to_a_file(
    message: Message, at: str, expected: tuple[int, int] | None
) -> None:
    found = message.locate(message.text.index(at))
    assert (None if found is None else (message.migrations.index(found[0]) + 1, found[1])) == expected


def test_an_offset_after_a_file_belongs_to_none(message: Message) -> None:
    assert message.locate(message.text.index("COMMIT;BEGIN") + 3) is None


@pytest.mark.parametrize(
    ("error", "committed"),
    [
        ('invalid input syntax for type boolean: "pgdbm:done:ab:1"', 1),
        ('invalid input syntax for type boolean: "pgdbm:done:ab:2"', 2),
        ('invalid input syntax for type boolean: "pgdbm:done:cd:1"', 0),
        ("division by zero", 0),
    ],
)
def test_the_error_that_ends_a_message_has_the_number_of_committed_files(
    message: Message, error: str, committed: int
) -> None:
    assert message.committed(error) == committed


@pytest.mark.parametrize(("seconds", "milliseconds"), [(5.0, 5000), (0.57, 570), (0.0001, 1), (0, 0)])
def test_a_short_timeout_does_not_become_no_limit(seconds: float, milliseconds: int) -> None:
    assert milliseconds_of(seconds) == milliseconds
