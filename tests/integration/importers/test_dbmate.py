"""dbmate's history: written by dbmate where it is installed, and otherwise as its table is documented."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import pgdbm
from pgdbm.migrations.importers import convert

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Database, Program

FILES = {
    "20240101000000_users.sql": (
        "-- migrate:up\nCREATE TABLE public.users (id int);\n\n-- migrate:down\nDROP TABLE public.users;\n"
    ),
    "20240102000000_index.sql": (
        "-- why\n\n--migrate:up transaction:false\nCREATE INDEX CONCURRENTLY i ON public.users (id);\n"
        "--  migrate:down  transaction:false\nDROP INDEX CONCURRENTLY public.i;\n"
    ),
    "20240103000000_empty.sql": "-- migrate:up\n\n-- migrate:down\n\n",
    "20240104000000_later.sql": "-- migrate:up\r\nCREATE TABLE public.later ();\r\n-- migrate:down\r\n",
}


def write(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_bytes(text.encode())
    return folder


def without(name: str) -> dict[str, str]:
    return {one: text for one, text in FILES.items() if one != name}


async def test_versions_applied_by_dbmate_are_imported(target: Database, dbmate: Program) -> None:
    theirs = write(dbmate.folder / "db" / "migrations", without("20240104000000_later.sql"))
    dbmate.run("--url", dbmate.url("postgres", "sslmode=disable"), "--no-dump-schema", "up")
    write(theirs, FILES)
    ours = dbmate.folder / "ours"
    assert convert("dbmate", theirs, ours).notes == ()
    report = await target.take("dbmate", ours)
    assert report.imported == tuple(without("20240104000000_later.sql"))
    assert (report.unmatched, report.pending) == ((), ("20240104000000_later.sql",))
    assert await target.apply(ours) == ["20240104000000_later.sql"]
    assert await target.apply(ours) == []


async def test_a_history_written_by_hand_is_imported(target: Database, tmp_path: Path) -> None:
    await target.run(
        "CREATE TABLE schema_migrations (version varchar(128) PRIMARY KEY);"
        "INSERT INTO schema_migrations VALUES ('20240101000000'), ('20240102000000'), ('20240103000000')"
    )
    ours = tmp_path / "ours"
    convert("dbmate", write(tmp_path / "theirs", FILES), ours)
    report = await target.take("dbmate", ours)
    assert report.imported == tuple(without("20240104000000_later.sql"))
    assert await target.apply(ours) == ["20240104000000_later.sql"]


async def test_files_with_sections_are_refused(target: Database) -> None:
    await target.run("CREATE TABLE schema_migrations (version varchar(128) PRIMARY KEY)")
    error = await target.refusal("dbmate", FILES)
    assert (error.reason, error.files) == ("unconverted", tuple(FILES))
    assert "convert('dbmate', folder, new_folder)" in str(error)


async def test_converted_files_build_a_new_database(target: Database, tmp_path: Path) -> None:
    ours = tmp_path / "ours"
    conversion = convert("dbmate", write(tmp_path / "theirs", FILES), ours)
    assert {path.name: path.read_text() for path in ours.iterdir()} == {
        "20240101000000_users.sql": "CREATE TABLE public.users (id int);\n",
        "20240101000000_users.down.sql": "DROP TABLE public.users;\n",
        "20240102000000_index.sql": ("-- pgdbm:no-transaction\nCREATE INDEX CONCURRENTLY i ON public.users (id);\n"),
        "20240102000000_index.down.sql": "-- pgdbm:no-transaction\nDROP INDEX CONCURRENTLY public.i;\n",
        "20240103000000_empty.sql": "-- Nothing to do.\n",
        "20240104000000_later.sql": "CREATE TABLE public.later ();\n",
    }
    assert len(conversion.written) == 6
    assert await target.apply(ours) == list(FILES)


def test_several_sections(tmp_path: Path) -> None:
    text = (
        "-- migrate:up\nCREATE TABLE a ();\n-- migrate:down\nDROP TABLE a;\n"
        "-- migrate:up\nCREATE TABLE b ();\n-- migrate:down\nDROP TABLE b;\n"
    )
    convert("dbmate", write(tmp_path / "theirs", {"1_ab.sql": text}), tmp_path / "ours")
    assert (tmp_path / "ours" / "1_ab.sql").read_text() == "CREATE TABLE a ();\nCREATE TABLE b ();\n"
    assert (tmp_path / "ours" / "1_ab.down.sql").read_text() == "DROP TABLE b;\nDROP TABLE a;\n"


def test_files_are_renamed_where_their_versions_need_it(tmp_path: Path) -> None:
    files = {"20240101users.sql": "-- migrate:up\nSELECT 1;\n", "notes.sql": "SELECT 1", "3.sql": "SELECT 2"}
    conversion = convert("dbmate", write(tmp_path / "theirs", files), tmp_path / "ours")
    assert conversion.written == ("20240101_users.sql",)
    assert conversion.notes == ("3.sql: has no section `-- migrate:up`; skipped.",)


class TestFolders:
    def test_nothing_is_overwritten(self, tmp_path: Path) -> None:
        theirs = write(tmp_path / "theirs", FILES)
        ours = write(tmp_path / "ours", {"20240104000000_later.sql": "SELECT 'mine'"})
        with pytest.raises(pgdbm.MigrationError, match="already exists"):
            convert("dbmate", theirs, ours)
        assert [path.name for path in ours.iterdir()] == ["20240104000000_later.sql"]

    def test_there_is_nothing_to_convert(self, tmp_path: Path) -> None:
        with pytest.raises(pgdbm.MigrationError, match="no folder"):
            convert("dbmate", tmp_path / "missing", tmp_path / "ours")
        with pytest.raises(pgdbm.MigrationError, match="no migrations of dbmate"):
            convert("dbmate", write(tmp_path / "theirs", {"readme.md": ""}), tmp_path / "ours")

    def test_a_file_that_is_not_utf_8(self, tmp_path: Path) -> None:
        (tmp_path / "1_a.sql").write_bytes(b"-- migrate:up\n-- \xff")
        with pytest.raises(pgdbm.MigrationFileError, match=r"1_a\.sql: not UTF-8"):
            convert("dbmate", tmp_path, tmp_path / "ours")

    def test_one_version_twice(self, tmp_path: Path) -> None:
        files = dict.fromkeys(("1_a.sql", "1_b.sql"), "-- migrate:up\nSELECT 1;")
        with pytest.raises(pgdbm.MigrationFileError, match="same version"):
            convert("dbmate", write(tmp_path / "theirs", files), tmp_path / "ours")
        assert not (tmp_path / "ours").exists()
