"""Migration files: names, order, checksums, refusals, and the cache."""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdbm import ChecksumMismatchError, Migration, MigrationFileError
from pgdbm.core.lru import LRUCache
from pgdbm.migrations.engine.plan import build_plan
from pgdbm.migrations.sources import files
from pgdbm.migrations.sources.files import (
    FolderSource,
    ResourceSource,
    checksum_of,
    in_order,
    read_migration,
    source_of,
)
from pgdbm.migrations.sources.names import order_of, version_of

LONG_AGO = 1_500_000_000


def names(found: tuple[Migration, ...]) -> list[str]:
    return [migration.filename for migration in found]


def write(folder: Path, name: str, content: str | bytes = "SELECT 1;") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file counts as old enough to be remembered."""
    monkeypatch.setattr(FolderSource, "_settled_ns", -(10**18))


class TestVersions:
    @pytest.mark.parametrize(
        ("filename", "version"),
        [
            ("001_x.sql", "001"),
            ("1-x.sql", "1"),
            ("7.sql", "7"),
            ("V2__x.sql", "2"),
            ("v2__x.sql", "2"),
            ("V1_2__x.sql", "1_2"),
            ("V1.2.3__x.sql", "1.2.3"),
            ("1.2_x.sql", "1.2"),
            ("20240126120000_x.sql", "20240126120000"),
            ("2024_01_26_x.sql", "2024_01_26"),
            ("2024-01-26-1200-x.sql", "2024-01-26-1200"),
            ("2024_01_26_120000_x.sql", "2024_01_26_120000"),
            ("init.sql", "init"),
            ("add_2_columns.sql", "add_2_columns"),
            ("001x.sql", "001x"),
            ("R__views.sql", "R__views"),
            ("Vx__y.sql", "Vx__y"),
        ],
    )
    def test_versions_are_read_from_names(self, filename: str, version: str) -> None:
        assert version_of(filename) == version
        assert Migration(filename, "", "").version == version

    def test_numbers_sort_as_numbers_and_names_come_last(self) -> None:
        expected = [
            "0_a.sql", "001_a.sql", "V1.0.1__a.sql", "1.2_a.sql", "V1_10__a.sql", "2_a.sql", "9_a.sql", "10_a.sql",
            "2024_01_26_a.sql", "2024_01_26_1200_a.sql", "20240126120000_a.sql", "Zebra.sql", "apple.sql",
        ]  # fmt: skip
        for shuffled in (expected[::-1], sorted(expected), expected[::2] + expected[1::2]):
            assert sorted(shuffled, key=order_of) == expected

    def test_a_number_in_front_counts_whatever_follows_it(self) -> None:
        expected = ["001_init.sql", "001a_fix.sql", "001b_fix.sql", "002 add.sql", "003.more.sql", "004_last.sql"]
        expected += ["9 y.sql", "010 x.sql", "010x.sql", "2024-01-02 y.sql", "2024-02-01 x.sql"]
        expected += ["20240126T110000_a.sql", "20240126T120000_b.sql", "apple.sql"]
        assert sorted(sorted(expected), key=order_of) == expected

    def test_a_number_in_front_is_a_version(self) -> None:
        with pytest.raises(MigrationFileError, match=r"002 a\.sql and 002_b\.sql have the same version"):
            build_plan(in_order([Migration(name, "", "") for name in ("002 a.sql", "002_b.sql")]), {})
        files = in_order([Migration(name, "", "") for name in ("001a_fix.sql", "001_init.sql", "002.more.sql")])
        assert [one.filename for one in build_plan(files, {}, target="001a").pending] == [
            "001_init.sql",
            "001a_fix.sql",
        ]

    @given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99)), unique=True))
    def test_dotted_versions_sort_as_tuples(self, versions: list[tuple[int, int, int]]) -> None:
        filenames = {f"V{'.'.join(map(str, version))}__x.sql": version for version in versions}
        assert [filenames[name] for name in sorted(filenames, key=order_of)] == sorted(versions)

    @given(st.text(max_size=255))
    def test_any_name_can_be_ordered(self, filename: str) -> None:
        assert order_of(filename) == order_of(filename)
        assert order_of("1_x.sql") < order_of("x" + filename)

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ("001_a.sql", "001_b.sql"),
            ("1_a.sql", "001_b.sql"),
            ("V1__a.sql", "1_b.sql"),
            ("1.0_a.sql", "1_b.sql"),
            ("V1_2__a.sql", "1.2-b.sql"),
            ("2024_01_26_a.sql", "2024-01-26-b.sql"),
        ],
    )
    def test_two_files_with_one_version_are_both_named(self, first: str, second: str) -> None:
        for pair in itertools.permutations((first, second)):
            with pytest.raises(MigrationFileError, match="same version") as caught:
                build_plan(in_order([Migration(name, "", "") for name in (*pair, "005_c.sql")]), {})
            assert first in str(caught.value)
            assert second in str(caught.value)
            assert caught.value.version is not None

    def test_two_applied_files_with_one_version_are_accepted(self) -> None:
        migrations = in_order([Migration(name, "sum", "") for name in ("001_a.sql", "001_b.sql", "002_c.sql")])
        applied = {"001_a.sql": "sum", "001_b.sql": "sum"}
        assert [one.filename for one in build_plan(migrations, applied).pending] == ["002_c.sql"]
        with pytest.raises(MigrationFileError, match=r"001_a\.sql and 001_b\.sql have the same version"):
            build_plan(migrations, {"001_a.sql": "sum"})

    def test_names_without_a_version_do_not_collide(self) -> None:
        found = in_order([Migration(name, "", "") for name in ("b.sql", "a.sql", "1_z.sql")])
        assert names(found) == ["1_z.sql", "a.sql", "b.sql"]


def sources_of(folder: Path) -> list[Any]:
    """The same files as a folder, as resources of a package, and in memory."""
    return [
        source_of(folder),
        ResourceSource(folder),
        source_of({path.name: path.read_text() for path in folder.glob("*.*")}),
    ]


class TestFoldersAsTheyAreFound:
    def test_a_suffix_in_upper_case_is_refused_by_name(self, tmp_path: Path) -> None:
        for name in ("001_a.sql", "002_B.SQL", "003_c.sql"):
            write(tmp_path, name)
        for source in sources_of(tmp_path):
            with pytest.raises(
                MigrationFileError, match=r"002_B\.SQL: the suffix of a migration is \.sql, in lower case"
            ):
                source.collect()
        (tmp_path / "002_B.SQL").rename(tmp_path / "002_b.psql")
        for source in sources_of(tmp_path):
            with pytest.raises(MigrationFileError, match=r"002_b\.psql: the suffix of a migration is \.sql"):
                source.collect()

    def test_migrations_of_other_tools_are_warned_of(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        for name in ("001_a.sql", "002_b.py", "003_c.go", "helper.py", "README.md"):
            write(tmp_path, name)
        for source in (source_of(tmp_path), ResourceSource(tmp_path)):
            assert names(source.collect()) == ["001_a.sql"]
            assert "is a migration: 002_b.py, 003_c.go" in caplog.text
            caplog.clear()

    def test_files_only_in_subfolders_are_refused(self, tmp_path: Path) -> None:
        for name in ("20240101000000_init", "20240102000000_more", ".hidden", "empty"):
            (tmp_path / name).mkdir()
            if name.startswith("2"):
                write(tmp_path / name, "migration.sql")
        write(tmp_path, "migration_lock.toml", "provider = 'postgresql'")
        for source in (source_of(tmp_path), ResourceSource(tmp_path)):
            for _ in range(2):
                with pytest.raises(
                    MigrationFileError, match=r"20240101000000_init/migration\.sql, 20240102000000_more"
                ):
                    source.collect()

    def test_files_in_subfolders_beside_others_are_warned_of(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        write(tmp_path, "001_a.sql")
        (tmp_path / "archive").mkdir()
        write(tmp_path / "archive", "000_old.SQL")
        for source in (source_of(tmp_path), ResourceSource(tmp_path)):
            assert names(source.collect()) == ["001_a.sql"]
            assert "archive/000_old.SQL" in caplog.text
            caplog.clear()


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
            with pytest.raises(MigrationFileError, match="cannot be printed") as caught:
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


class TestFolder:
    def test_only_sql_files_directly_in_it(self, tmp_path: Path) -> None:
        for name in ("002_b.sql", "001_a.sql", ".003_hidden.sql", "004_d.sql.bak", "README.md", "001_a.down.sql"):
            write(tmp_path, name)
        (tmp_path / "005_folder.sql").mkdir()
        (tmp_path / "deeper").mkdir()
        write(tmp_path / "deeper", "006_e.sql")
        assert names(FolderSource(tmp_path).collect()) == ["001_a.sql", "002_b.sql"]
        assert names(source_of(str(tmp_path)).collect()) == ["001_a.sql", "002_b.sql"]

    def test_a_missing_folder_is_a_warning(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING, "pgdbm"):
            assert source_of(tmp_path / "none").collect() == ()
        assert str(tmp_path / "none") in caplog.text

    def test_an_empty_folder_is_not_an_error(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        assert FolderSource(tmp_path).collect() == ()
        assert caplog.text == ""

    def test_a_file_instead_of_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(MigrationFileError, match="is a file"):
            FolderSource(write(tmp_path, "001_a.sql")).collect()

    def test_a_relative_path_is_taken_when_the_source_is_made(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(tmp_path, "001_a.sql")
        monkeypatch.chdir(tmp_path)
        source = source_of(".")
        monkeypatch.chdir("/")
        assert names(source.collect()) == ["001_a.sql"]

    def test_a_link_inside(self, tmp_path: Path) -> None:
        # Like a ConfigMap that Kubernetes mounts.
        (tmp_path / "..2024").mkdir()
        write(tmp_path / "..2024", "001_a.sql", "SELECT 'linked';")
        (tmp_path / "..data").symlink_to("..2024")
        (tmp_path / "001_a.sql").symlink_to("..data/001_a.sql")
        (found,) = FolderSource(tmp_path).collect()
        assert found.content == "SELECT 'linked';"

    def test_a_link_to_the_folder(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        write(tmp_path / "real", "001_a.sql")
        (tmp_path / "real" / "002_b.sql").symlink_to("001_a.sql")
        (tmp_path / "link").symlink_to("real")
        assert names(FolderSource(tmp_path / "link").collect()) == ["001_a.sql", "002_b.sql"]

    @pytest.mark.parametrize("target", ["../outside.sql", "../migrations-of-others/001.sql"])
    def test_a_link_outside_is_refused(self, tmp_path: Path, target: str) -> None:
        folder = tmp_path / "migrations"
        for path in (folder, tmp_path / "migrations-of-others"):
            path.mkdir()
        write(tmp_path, "outside.sql", "SELECT 'secret'")
        write(tmp_path / "migrations-of-others", "001.sql", "SELECT 'secret'")
        (folder / "001_a.sql").symlink_to(target)
        with pytest.raises(MigrationFileError, match="outside") as caught:
            FolderSource(folder).collect()
        assert caught.value.migration_file == "001_a.sql"
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize("target", ["missing.sql", "001_a.sql"])
    def test_a_broken_link_is_refused(self, tmp_path: Path, target: str) -> None:
        (tmp_path / "001_a.sql").symlink_to(target)
        with pytest.raises(MigrationFileError, match="broken symbolic link") as caught:
            FolderSource(tmp_path).collect()
        assert caught.value.migration_file == "001_a.sql"

    def test_a_name_that_is_not_utf_8(self, tmp_path: Path) -> None:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/001_\xff.sql")).write_text("SELECT 1;")
        with pytest.raises(MigrationFileError, match="cannot be printed"):
            FolderSource(tmp_path).collect()


@pytest.mark.usefixtures("settled")
class TestWhatIsRemembered:
    @pytest.fixture
    def reads(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """The names of the files that were read."""
        read: list[str] = []

        def counting(filename: str, raw: bytes) -> Migration:
            read.append(filename)
            return read_migration(filename, raw)

        monkeypatch.setattr(files, "read_migration", counting)
        return read

    def test_a_file_is_read_once(self, tmp_path: Path, reads: list[str]) -> None:
        write(tmp_path, "001_a.sql")
        first = FolderSource(tmp_path).collect()
        assert FolderSource(tmp_path).collect() is first
        assert FolderSource(str(tmp_path)).collect() is first
        assert reads == ["001_a.sql"]

    def test_a_new_file_is_read_and_a_deleted_one_removed(self, tmp_path: Path, reads: list[str]) -> None:
        first = write(tmp_path, "001_a.sql")
        source = FolderSource(tmp_path)
        source.collect()
        write(tmp_path, "002_b.sql")
        assert names(source.collect()) == ["001_a.sql", "002_b.sql"]
        assert reads == ["001_a.sql", "002_b.sql"]
        first.unlink()
        assert names(source.collect()) == ["002_b.sql"]
        write(tmp_path, "001_a.sql")
        assert names(source.collect()) == ["001_a.sql", "002_b.sql"]

    def test_a_change_with_the_same_size_and_mtime_is_found(self, tmp_path: Path) -> None:
        path = write(tmp_path, "001_a.sql", "SELECT 1;")
        os.utime(path, (LONG_AGO, LONG_AGO))
        source = FolderSource(tmp_path)
        before = source.collect()[0].checksum
        path.write_text("SELECT 2;")
        os.utime(path, (LONG_AGO, LONG_AGO))
        assert source.collect()[0].content == "SELECT 2;"
        assert source.collect()[0].checksum != before

    def test_a_file_that_was_replaced(self, tmp_path: Path) -> None:
        path = write(tmp_path, "001_a.sql", "SELECT 1;")
        source = FolderSource(tmp_path)
        source.collect()
        os.replace(write(tmp_path, "new", "SELECT 2;"), path)  # noqa: PTH105
        assert source.collect()[0].content == "SELECT 2;"

    def test_a_link_that_is_moved_to_another_file_is_read_again(self, tmp_path: Path) -> None:
        for number in "12":
            write(tmp_path, f"target{number}", f"SELECT {number};")
        link = tmp_path / "001_a.sql"
        link.symlink_to("target1")
        source = FolderSource(tmp_path)
        assert source.collect()[0].content == "SELECT 1;"
        link.unlink()
        link.symlink_to("target2")
        assert source.collect()[0].content == "SELECT 2;"

    def test_the_cache_has_a_maximum_of_folders(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(FolderSource, "_known", LRUCache(2))
        for number in range(4):
            folder = tmp_path / str(number)
            folder.mkdir()
            write(folder, "001_a.sql")
            FolderSource(folder).collect()
        assert [str(tmp_path / str(number)) in FolderSource._known for number in range(4)] == [False, False, True, True]


def test_a_recently_written_file_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two writes within a tick of the clock have the same stat."""
    monkeypatch.setattr(FolderSource, "_settled_ns", 10**18)
    path = write(tmp_path, "001_a.sql", "SELECT 1;")
    source = FolderSource(tmp_path)
    stat = path.stat()
    source.collect()
    path.write_text("SELECT 2;")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert source.collect()[0].content == "SELECT 2;"
    known = FolderSource._known.get(str(tmp_path))
    assert known is not None
    assert known.files == {}
