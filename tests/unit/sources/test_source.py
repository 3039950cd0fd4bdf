"""Where migrations come from: folders, links, warnings, and what is remembered of a folder."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from pgdbm import Migration, MigrationFileError
from pgdbm.core.lru import LRUCache
from pgdbm.migrations.sources import source as sources
from pgdbm.migrations.sources.migration import read_migration
from pgdbm.migrations.sources.source import FolderReadOnce, FolderSource, ResourceSource, source_of

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


def sources_of(folder: Path) -> list[Any]:
    """The same files as a folder, the same read once, as resources of a package, and in memory."""
    return [
        source_of(folder),
        FolderReadOnce(folder),
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
        with pytest.raises(MigrationFileError, match="unprintable characters"):
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

        monkeypatch.setattr(sources, "read_migration", counting)
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
    assert known.files["001_a.sql"][0] is None


def test_a_file_that_is_read_again_without_a_change_is_the_same_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a large file would be in memory once per reader."""
    monkeypatch.setattr(FolderSource, "_settled_ns", 10**18)
    write(tmp_path, "001_a.sql")
    changed = write(tmp_path, "002_b.sql", "SELECT 2;")
    before = FolderSource(tmp_path).collect()
    changed.write_text("SELECT 3;")
    after = FolderSource(tmp_path).collect()
    assert after[0] is before[0]
    assert [migration.content for migration in after] == ["SELECT 1;", "SELECT 3;"]


@pytest.mark.parametrize("broken", ["the folder", "a file"])
def test_what_cannot_be_read_is_an_error_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """Not one of the connection, whose errors are OSErrors, too."""
    write(tmp_path, "001_a.sql")
    name = str(tmp_path) if broken == "the folder" else "001_a.sql"
    opened = os.open

    def refuse(path: Any, *arguments: Any, **options: Any) -> int:
        if path == name:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return opened(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(MigrationFileError, match="cannot be read: Permission denied") as caught:
        FolderSource(tmp_path).collect()
    assert caught.value.migration_file == name
    assert caught.value.hint is not None


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 131_074, 1_000_000])
@pytest.mark.parametrize("longest_read", [1 << 30, 1000])
def test_a_file_of_any_size_is_read_to_its_end(
    tmp_path: Path, size: int, longest_read: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = os.read
    monkeypatch.setattr(os, "read", lambda file, length: read(file, min(length, longest_read)))
    monkeypatch.setattr(sources, "_MOST_BYTES", longest_read - 1)
    content = f"SELECT {'1' * size};"
    write(tmp_path, "1.sql", content)
    for source in (FolderSource(tmp_path), FolderReadOnce(tmp_path)):
        assert [migration.content for migration in source.collect()] == [content]


def test_a_folder_that_is_read_once_is_not_read_again(tmp_path: Path) -> None:
    source = FolderReadOnce(tmp_path)
    write(tmp_path, "1.sql", "SELECT 1")
    assert names(source.collect()) == ["1.sql"]
    write(tmp_path, "2.sql", "SELECT 2")
    assert names(source.collect()) == ["1.sql"]
    assert str(tmp_path) not in FolderSource._known


def test_files_in_memory_are_read_once_however_many_sources_have_them() -> None:
    files = {f"{number}.sql": f"SELECT {number}" for number in range(3)}
    first, second = source_of(files), source_of(dict(files))
    assert first.collect() is second.collect()
    files["1.sql"] = "SELECT 'changed'"
    changed = source_of(files)
    assert [one.content for one in changed.collect()] == ["SELECT 0", "SELECT 'changed'", "SELECT 2"]
    assert [one.content for one in first.collect()] == ["SELECT 0", "SELECT 1", "SELECT 2"]


def test_files_in_memory_that_cannot_be_read_are_refused_each_time() -> None:
    source = source_of({"1.sql": ""})
    for _ in range(2):
        with pytest.raises(MigrationFileError, match="empty"):
            source.collect()
