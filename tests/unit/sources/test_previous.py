"""The diff from what a file contained when it was applied."""

from __future__ import annotations

from pgdbm.migrations.sources.migration import checksum_of
from pgdbm.migrations.sources.previous import PreviousContents, diff_to

BEFORE, NOW = "CREATE TABLE a ();\r\n", "CREATE TABLE a (id int);\n"


def diff(previous: PreviousContents | None) -> str | None:
    return diff_to("001_a.sql", checksum_of(BEFORE), checksum_of(NOW), NOW, previous)


def test_a_diff_from_a_mapping_or_a_function() -> None:
    expected = (
        f"--- 001_a.sql (applied, {checksum_of(BEFORE)[:12]})\n+++ 001_a.sql (now, {checksum_of(NOW)[:12]})\n"
        "@@ -1 +1 @@\n-CREATE TABLE a ();\n+CREATE TABLE a (id int);\n"
    )
    assert diff({checksum_of(BEFORE): BEFORE}) == expected
    assert diff(lambda filename, checksum: BEFORE if checksum == checksum_of(BEFORE) else None) == expected


def test_no_diff_where_the_content_is_unknown() -> None:
    assert diff(None) is None
    assert diff({}) is None
    assert diff(lambda filename, checksum: None) is None


def test_line_ends_and_outer_white_space_are_not_a_difference() -> None:
    assert diff_to("001_a.sql", "1", "2", "SELECT 1;\n", {"1": "\r\nSELECT 1;\r\n\r\n"}) == ""
