"""The digest of a bundle, and the files that belong to one."""

from __future__ import annotations

import os
import time
from itertools import permutations
from typing import TYPE_CHECKING

import pytest

from pgdbm.errors import MigrationFileError
from pgdbm.migrations.sources.migration import read_migration
from pgdbm.migrations.sources.source import FolderSource
from pgdbm_service.registry import bundles
from pgdbm_service.registry.bundles import digest_of, is_bundle_file, known_bundle, read_folder, read_settled
from pgdbm_service.registry.settings import CheckedSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SETTINGS = CheckedSettings()
FILES = [read_migration(name, b"SELECT 1;\n") for name in ("001_a.sql", "002_b.sql", "002_b.down.sql")]


def test_the_digest_does_not_depend_on_the_order_of_the_files() -> None:
    digests = {digest_of(SETTINGS, files) for files in permutations(FILES)}
    assert len(digests) == 1
    (digest,) = digests
    assert digest.startswith("sha256:")
    assert len(digest) == len("sha256:") + 64


@pytest.mark.parametrize(
    ("settings", "files"),
    [
        (CheckedSettings(schemas=("a",)), FILES),
        (CheckedSettings(depends_on=("a",)), FILES),
        (CheckedSettings(out_of_order="allow"), FILES),
        (SETTINGS, FILES[:2]),
        (SETTINGS, [*FILES[:2], read_migration("003_b.down.sql", b"SELECT 1;\n")]),
        (SETTINGS, [*FILES[:2], read_migration("002_b.down.sql", b"SELECT 2;\n")]),
        # White space that the checksum ignores.
        (SETTINGS, [*FILES[:2], read_migration("002_b.down.sql", b"SELECT 1;\n\n")]),
    ],
)
def test_the_digest_changes_with_settings_names_and_content(settings: CheckedSettings, files: list[object]) -> None:
    assert digest_of(settings, files) != digest_of(SETTINGS, FILES)  # type: ignore[arg-type]


def test_a_folder_is_read_with_its_down_migrations(tmp_path: Path) -> None:
    contents = {"001_a.sql": "SELECT 1", "001_a.down.sql": "SELECT 2", "002_b.sql": "SELECT 'ö'"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content.encode())
    (tmp_path / "module.toml").write_text("")
    bundle = read_folder(SETTINGS, tmp_path)
    assert {name: file.content for name, file in bundle.files.items()} == contents
    assert bundle.digest == read_folder(SETTINGS, tmp_path).digest


@pytest.mark.parametrize(
    ("name", "belongs"), [("001.sql", True), ("001.down.sql", True), (".001.sql", False), ("module.toml", False)]
)
def test_files_of_a_bundle(name: str, belongs: bool) -> None:
    assert is_bundle_file(name) is belongs


def test_a_byte_order_mark_is_not_part_of_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "001_a.sql").write_text("SELECT 'ö'", encoding="utf-8")
    plain = read_folder(SETTINGS, tmp_path)
    (tmp_path / "001_a.sql").write_text("SELECT 'ö'", encoding="utf-8-sig")
    assert read_folder(SETTINGS, tmp_path) == plain


def test_the_checksums_are_those_of_the_history_without_down_migrations(tmp_path: Path) -> None:
    for name in ("001_a.sql", "001_a.down.sql", "002_b.sql"):
        (tmp_path / name).write_text("SELECT 1;\n")
    bundle = read_folder(SETTINGS, tmp_path)
    assert bundle.checksums == {file.filename: file.checksum for file in FILES[:2]}


def test_a_folder_is_read_again_only_when_a_file_or_the_settings_have_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "_SETTLED_NS", 0)
    file = tmp_path / "001_a.sql"
    file.write_text("SELECT 1")
    time.sleep(0.02)
    first = read_folder(SETTINGS, tmp_path)
    assert read_folder(SETTINGS, tmp_path) is first
    assert read_settled(SETTINGS, tmp_path) is first
    others = CheckedSettings(description="orders")
    assert read_folder(others, tmp_path).settings == others

    stat = file.stat()
    file.write_text("SELECT 2")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    time.sleep(0.02)
    assert read_settled(SETTINGS, tmp_path).files["001_a.sql"].content == "SELECT 2"
    (tmp_path / "002_b.SQL").write_text("SELECT 3")
    time.sleep(0.02)
    with pytest.raises(MigrationFileError, match=r"002_b\.SQL"):
        read_folder(SETTINGS, tmp_path)


def test_a_bundle_of_files_that_were_just_written_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / "001_a.sql").write_text("SELECT 1")
    os.utime(tmp_path / "001_a.sql", (1_700_000_000, 1_700_000_000))
    assert read_folder(SETTINGS, tmp_path) is not read_folder(SETTINGS, tmp_path)


def settled_folder(folder: Path) -> Path:
    """A folder in ``folder`` with two migrations and a down migration, which were written a while ago."""
    (folder / "revision").mkdir()
    for name in ("001_a.sql", "002_b.sql", "002_b.down.sql"):
        (folder / "revision" / name).write_text(f"SELECT '{name}'")
        os.utime(folder / "revision" / name, (time.time() - 60,) * 2)
    time.sleep(0.35)
    return folder / "revision"


def test_a_bundle_is_known_by_the_migrations_that_were_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = settled_folder(tmp_path)
    bundle = read_settled(SETTINGS, folder)
    planned = FolderSource(folder).collect()
    monkeypatch.setattr(bundles, "_read", None)
    assert known_bundle(SETTINGS, folder, planned) is bundle
    assert known_bundle(CheckedSettings(schemas=("a",)), folder, planned) is None
    assert known_bundle(SETTINGS, folder, planned[:1]) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "003_c.sql").write_text("SELECT 3"),
        lambda folder: (folder / "003_c.down.sql").write_text("SELECT 3"),
        lambda folder: (folder / "001_a.sql").unlink(),
        lambda folder: (folder / "002_b.down.sql").unlink(),
        lambda folder: (folder / "002_b.down.sql").write_text("SELECT 4"),
    ],
)
def test_a_bundle_is_not_known_once_files_have_changed(tmp_path: Path, change: Callable[[Path], object]) -> None:
    folder = settled_folder(tmp_path)
    bundle = read_settled(SETTINGS, folder)
    planned = FolderSource(folder).collect()
    assert known_bundle(SETTINGS, folder, planned) is bundle
    change(folder)
    assert known_bundle(SETTINGS, folder, planned) is None


def test_a_bundle_is_not_known_once_a_link_leads_to_another_folder(tmp_path: Path) -> None:
    settled_folder(tmp_path).rename(tmp_path / "first")
    second = settled_folder(tmp_path)
    link = tmp_path / "current"
    link.symlink_to(tmp_path / "first")
    time.sleep(0.35)
    bundle = read_settled(SETTINGS, link)
    planned = FolderSource(link).collect()
    assert known_bundle(SETTINGS, link, planned) is bundle
    link.unlink()
    link.symlink_to(second)
    assert known_bundle(SETTINGS, link, planned) is None
