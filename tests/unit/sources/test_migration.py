"""One migration: its checksum, its content, and what is refused."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest

from pgdbm import ChecksumMismatchError, Migration, MigrationFileError
from pgdbm.migrations.engine.plan import build_plan
from pgdbm.migrations.sources.migration import checksum_of, read_migration

LONG_AGO = 1_500_000_000


class TestContent:
    def test_the_checksum_of_the_contract(self) -> None:
        expected = hashlib.sha256(b"CREATE TABLE a ();\n-- done").hexdigest()
        for content in (
            "CREATE TABLE a ();\n-- done",
            "CREATE TABLE a ();\r\n-- done\r\n",
            "\n \tCREATE TABLE a ();\n-- done  \n\n",
        ):
            assert checksum_of(content) == expected
            assert read_migration("1.sql", content.encode()).checksum == expected
        assert checksum_of("CREATE TABLE a ();\r-- done") != expected

    def test_crlf_is_kept_in_the_content(self) -> None:
        assert read_migration("1.sql", b"SELECT 1;\r\nSELECT 2;\r\n").content == "SELECT 1;\r\nSELECT 2;\r\n"

    def test_a_byte_order_mark_is_not_a_change(self) -> None:
        plain, marked = (read_migration("1.sql", raw) for raw in (b"SELECT 1;\n", b"\xef\xbb\xbfSELECT 1;\n"))
        assert marked == plain
        assert [build_plan([marked], {"1.sql": plain.checksum}).skipped] == [(marked,)]

    def test_a_checksum_that_0_5_0_wrote_with_the_byte_order_mark(self) -> None:
        recorded = hashlib.sha256(b"\xef\xbb\xbfSELECT 1;").hexdigest()
        for raw in (b"SELECT 1;\n", b"\xef\xbb\xbfSELECT 1;\n"):
            assert build_plan([read_migration("1.sql", raw)], {"1.sql": recorded}).pending == ()
        with pytest.raises(ChecksumMismatchError):
            build_plan([read_migration("1.sql", b"SELECT 2;\n")], {"1.sql": recorded})

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            ("-- pgdbm:no-transaction", True),
            ("\r\n-- why\r\n/* and\n* how */\r\n-- pgdbm:no-transaction, since it takes long\r\nVACUUM", False),
            ("\n-- why\n/* and\n* how */\n-- pgdbm:no-transaction since it takes long\nVACUUM", True),
            ("-- pgdbm:no-transactions\n-- pgdbm:no-transaction\nVACUUM", True),
            ("SELECT 1;\n-- pgdbm:no-transaction\nVACUUM", False),
            ("CREATE FUNCTION f() AS $$\n-- pgdbm:no-transaction\n$$", False),
            ("SELECT '\n-- pgdbm:no-transaction\n'", False),
            ("/*\n-- pgdbm:no-transaction\n*/ SELECT 1", False),
            ("-- see -- pgdbm:no-transaction\nSELECT 1", False),
        ],
    )
    def test_the_marker_is_a_comment_of_its_own_above_the_first_statement(self, content: str, expected: bool) -> None:
        assert read_migration("1.sql", content.encode()).wants_no_transaction is expected

    @pytest.mark.parametrize("raw", [b"", b" \r\n\t\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf \n"])
    def test_an_empty_file(self, raw: bytes) -> None:
        with pytest.raises(MigrationFileError, match="empty") as caught:
            read_migration("1.sql", raw)
        assert (caught.value.migration_file, caught.value.line) == ("1.sql", 1)

    @pytest.mark.parametrize(
        ("raw", "line", "column"),
        [
            (b"\xff", 1, 1),
            (b"SELECT 'caf\xe9';", 1, 12),
            (b"SELECT 1;\n-- \xc3\xa4\xc3\xb6\n  '\xe9'", 3, 4),
            (b"-- \xc3\xa4\xc3\xb6\xe2\x82\xac \xe9", 1, 8),
            (b"SELECT 1;\n-- \xe2\x82", 2, 4),
            ("SELECT 1;".encode("utf-16"), 1, 1),
        ],
    )
    def test_what_is_not_utf_8(self, raw: bytes, line: int, column: int) -> None:
        with pytest.raises(MigrationFileError, match="UTF-8") as caught:
            read_migration("1.sql", raw)
        assert (caught.value.line, caught.value.column) == (line, column)
        assert f"1.sql:{line}:{column}" in str(caught.value)

    def test_a_nul(self) -> None:
        with pytest.raises(MigrationFileError, match="NUL") as caught:
            read_migration("1.sql", b"SELECT 1;\n\x00")
        assert caught.value.line == 2

    def test_names_that_the_history_cannot_hold(self) -> None:
        assert read_migration("1_" + "ü" * 249 + ".sql", b"SELECT 1").version == "1"
        with pytest.raises(MigrationFileError, match="256 characters"):
            read_migration("1_" + "ü" * 250 + ".sql", b"SELECT 1")
        for name in ("1_\udcff.sql", "1_a\nb.sql", "1_\x1b[31m.sql"):
            with pytest.raises(MigrationFileError, match="unprintable characters") as caught:
                read_migration(name, b"SELECT 1")
            str(caught.value).encode()

    @pytest.mark.parametrize(
        ("content", "asked"),
        [
            ("-- pgdbm:no-transaction", True),
            ("-- pgdbm:no-transaction\nVACUUM;", True),
            ("-- pgdbm:no-transaction because of the index\nVACUUM;", True),
            ("-- why\n-- pgdbm:no-transaction\r\nVACUUM;", True),
            ("  -- pgdbm:no-transaction\nVACUUM;", False),
            ("-- pgdbm:no-transactions\nVACUUM;", False),
            ("-- pgdbm: no-transaction\nVACUUM;", False),
            ("SELECT 1; -- pgdbm:no-transaction", False),
        ],
    )
    def test_the_no_transaction_line(self, content: str, asked: bool) -> None:
        assert Migration("1.sql", "", content).wants_no_transaction is asked

    def test_applied(self) -> None:
        assert not Migration("1.sql", "", "").is_applied
        assert Migration("1.sql", "", "", applied_at=datetime.now(UTC)).is_applied


@pytest.mark.parametrize("tail", ["/* ", "SET a\n", "\n", "-- a\n", "/* a */", "SET a = 1;\n", "COMMIT\n", "BEGIN\n"])
@pytest.mark.parametrize("end", ["", "SELECT 2;\n"])
def test_a_long_tail_is_read_in_time_that_grows_with_its_length(tail: str, end: str) -> None:
    """The text behind COMMIT may be a megabyte of anything; with quadratic time this test would take an hour."""
    migration = read_migration("001_a.sql", ("BEGIN;\nSELECT 1;\nCOMMIT;\n" + tail * 200_000 + end).encode())
    is_unfinished = tail in ("/* ", "SET a\n")
    assert migration.runs_without_transaction is (tail in ("COMMIT\n", "BEGIN\n") or (end != "" and not is_unfinished))
