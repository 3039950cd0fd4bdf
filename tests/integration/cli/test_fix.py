"""``pgdbm migrate fix``: pending files in their safer form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pgdbm.cli.fix import write_files
from pgdbm.migrations.lint import FixFile

from .project import Project

if TYPE_CHECKING:
    from pathlib import Path

CHECK = "-- Totals are never negative.\nALTER TABLE {{tables.users}} ADD CHECK (id > 0);\n"

PARTITIONED = (
    "CREATE TABLE {{tables.parted}} (id int) PARTITION BY LIST (id);\n"
    "CREATE TABLE {{tables.one}} PARTITION OF {{tables.parted}} FOR VALUES IN (1);\n"
    "INSERT INTO {{tables.parted}} VALUES (1);\n"
)


@pytest.fixture
def project(tmp_path: Path, database: str) -> Project:
    project = Project(tmp_path, database)
    project.write(
        "users/001_users.sql", "CREATE TABLE {{tables.users}} (id int);\nINSERT INTO {{tables.users}} VALUES (1);\n"
    )
    project.json("migrate", "apply", "users")
    return project


def files_in(project: Project) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted((project.folder / "users").iterdir())}


def test_a_proved_fix_replaces_the_pending_file(project: Project) -> None:
    project.write("users/002_check.sql", CHECK)
    project.write("users/003_more.sql", "CREATE TABLE {{tables.more}} (id int);\n")
    before = files_in(project)
    (found,) = project.json("migrate", "fix", "users", "--dry-run")["modules"][0]["fixes"]
    assert (found["proved"], found["written"]) == (True, False)
    assert files_in(project) == before
    (found,) = project.json("migrate", "fix", "users")["modules"][0]["fixes"]
    assert (found["proved"], found["written"]) == (True, True)
    assert files_in(project) == before | {
        "002_check.sql": (
            "-- Totals are never negative.\nALTER TABLE {{tables.users}} ADD CONSTRAINT users_id_check CHECK (id > 0)"
            " NOT VALID;\n"
        ),
        "002.1_check.sql": "ALTER TABLE {{tables.users}} VALIDATE CONSTRAINT users_id_check;\n",
    }
    assert project.json("migrate", "fix", "users")["modules"][0]["fixes"] == []
    project.json("migrate", "apply", "users")
    assert project.json("migrate", "drift", "--module", "users")["clean"] is True


def test_what_is_not_proved_is_not_written(project: Project) -> None:
    project.write("users/002_part.sql", PARTITIONED)
    project.json("migrate", "apply", "users")
    project.write("users/003_index.sql", "CREATE INDEX i ON {{tables.parted}} (id);\n")
    before = files_in(project)
    (found,) = project.json("migrate", "fix", "users", exit_code=1)["modules"][0]["fixes"]
    assert (found["proved"], found["written"]) == (False, False)
    assert "partitioned" in found["reason"]
    assert files_in(project) == before
    (found,) = project.json("migrate", "fix", "users", "--no-check")["modules"][0]["fixes"]
    assert (found["proved"], found["written"]) == (None, True)
    assert "CONCURRENTLY" in files_in(project)["003_index.sql"]


def test_an_applied_file_is_never_changed(project: Project) -> None:
    project.write("users/002_check.sql", CHECK)
    project.json("migrate", "apply", "users")
    before = files_in(project)
    assert project.json("migrate", "fix", "users")["modules"][0]["fixes"] == []
    assert files_in(project) == before


def test_an_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "001_a.sql").write_text("original")
    (tmp_path / "001.1_a.sql").write_text("another")
    with pytest.raises(FileExistsError):
        write_files(tmp_path, [FixFile("001_a.sql", "x"), FixFile("001.1_a.sql", "y")])
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "001_a.sql": "original",
        "001.1_a.sql": "another",
    }


def test_people_see_what_was_done(project: Project) -> None:
    project.write("users/002_check.sql", CHECK)
    assert "`pgdbm migrate fix` writes 002_check.sql, 002.1_check.sql" in project.run("migrate", "plan", "users").stdout
    printed = project.run("migrate", "fix", "users", "--dry-run").stdout
    assert "002_check.sql: proved, not written" in printed
    assert "VALIDATE CONSTRAINT users_id_check;" in printed
