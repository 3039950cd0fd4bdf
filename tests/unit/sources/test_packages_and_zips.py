"""Migrations from packages, zips and memory."""

from __future__ import annotations

import importlib
import logging
import sys
import zipfile
from importlib import resources
from typing import TYPE_CHECKING

import pytest

from pgdbm import Migration, MigrationFileError
from pgdbm.migrations.sources.migration import checksum_of
from pgdbm.migrations.sources.source import source_of

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable
    from pathlib import Path


def names(found: tuple[Migration, ...]) -> list[str]:
    return [migration.filename for migration in found]


class TestResources:
    def test_a_zip(self, tmp_path: Path) -> None:
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name in ("m/010_b.sql", "m/9_a.sql", "m/.hidden.sql", "m/9_a.down.sql", "m/notes.txt", "m/sub/1.sql"):
                archive.writestr(name, f"SELECT '{name}';\r\n")
        with zipfile.ZipFile(path) as archive:
            found = source_of(zipfile.Path(archive, "m/")).collect()
        assert names(found) == ["9_a.sql", "010_b.sql"]
        assert found[0].content == "SELECT 'm/9_a.sql';\r\n"
        assert found[0].checksum == checksum_of("SELECT 'm/9_a.sql';")

    @pytest.mark.parametrize("packed", [False, True])
    def test_a_package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool) -> None:
        name = f"shop_of_the_tests_{packed}"
        contents = {f"{name}/__init__.py": "", f"{name}/migrations/001_a.sql": "SELECT 1;"}
        place = tmp_path
        if packed:
            place = tmp_path / "packages.zip"
            with zipfile.ZipFile(place, "w") as archive:
                for path, content in contents.items():
                    archive.writestr(path, content)
        else:
            for path, content in contents.items():
                (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / path).write_text(content)
        monkeypatch.syspath_prepend(str(place))
        importlib.import_module(name)
        try:
            folder: Traversable = resources.files(name) / "migrations"
            assert names(source_of(folder).collect()) == ["001_a.sql"]
        finally:
            del sys.modules[name]

    def test_a_missing_folder_is_a_warning(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x", "")
        with zipfile.ZipFile(path) as archive, caplog.at_level(logging.WARNING, "pgdbm"):
            assert source_of(zipfile.Path(archive) / "none").collect() == ()
        assert "none" in caplog.text


class TestMemory:
    def test_the_order_is_that_of_the_versions(self) -> None:
        found = source_of({"10_b.sql": "SELECT 2;", "9_a.sql": "SELECT 1;"}).collect()
        assert names(found) == ["9_a.sql", "10_b.sql"]
        assert found[0].checksum == checksum_of("SELECT 1;")

    def test_the_mapping_is_copied(self) -> None:
        contents = {"1.sql": "SELECT 1;"}
        source = source_of(contents)
        contents["2.sql"] = "SELECT 2;"
        assert names(source.collect()) == ["1.sql"]

    @pytest.mark.parametrize("content", ["", "  \n", "\ud800", "a\x00"])
    def test_contents_that_are_refused(self, content: str) -> None:
        with pytest.raises(MigrationFileError) as caught:
            source_of({"1.sql": content}).collect()
        assert caught.value.migration_file == "1.sql"
