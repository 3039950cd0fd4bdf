"""File names and folders as other tools and editors leave them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Project

T = "CREATE TABLE {{tables.t}} (id int);"
SEED = "INSERT INTO {{tables.t}} VALUES (1), (2);"


@pytest.mark.parametrize("new", ["002_seed_prices.sql", "003_seed.sql", "02_seed.sql"])
def test_a_renamed_file_is_not_run_again(project: Project, new: str) -> None:
    assert project.apply({"001_t.sql": T, "002_seed.sql": SEED}).succeeded
    (project.folder / "002_seed.sql").rename(project.folder / new)
    outcome = project.apply({"004_next.sql": "ALTER TABLE {{tables.t}} ADD n int"})
    assert project.sql("SELECT count(*) FROM app.t") == [(2,)]
    assert "002_seed.sql" in outcome.text
    assert new in outcome.text


def test_a_renumbered_file_is_not_run_again_beside_a_new_one(project: Project) -> None:
    assert project.apply({"001_t.sql": T, "002_seed.sql": SEED}).succeeded
    (project.folder / "002_seed.sql").rename(project.folder / "003_seed.sql")
    outcome = project.apply({"002_other.sql": "INSERT INTO {{tables.t}} VALUES (3);"})
    # The service refuses a new file below the newest that is applied.
    assert outcome.succeeded or outcome.failed_with("out_of_order", "002_other.sql"), outcome.text
    assert "003_seed.sql" in outcome.text
    assert "002_seed.sql" in outcome.text
    assert project.sql("SELECT count(*) FROM app.t WHERE id < 3") == [(2,)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "00001_t.sql",
            "-- +goose Up\nCREATE TABLE {{tables.t}} (id int);\n\n-- +goose Down\nDROP TABLE {{tables.t}};\n",
        ),
        (
            "20240101000000_t.sql",
            "-- migrate:up\nCREATE TABLE {{tables.t}} (id int);\n\n-- migrate:down\nDROP TABLE {{tables.t}};\n",
        ),
        (
            "0001_t.sql",
            "-- +migrate Up\nCREATE TABLE {{tables.t}} (id int);\n\n-- +migrate Down\nDROP TABLE {{tables.t}};\n",
        ),
    ],
    ids=["goose", "dbmate", "sql-migrate"],
)
def test_a_file_with_up_and_down_sections_is_refused_or_only_applied(project: Project, name: str, content: str) -> None:
    outcome = project.apply({name: content})
    assert (
        outcome.failed_with(name, "down.sql")
        or outcome.failed_with(name, "convert")
        or (outcome.succeeded and project.exists("app.t"))
    ), outcome.text


def test_undo_scripts_of_flyway_are_not_run(project: Project) -> None:
    outcome = project.apply(
        {
            "V1__t.sql": T,
            "V2__seed.sql": SEED,
            "U1__t.sql": "DROP TABLE {{tables.t}}",
            "U2__seed.sql": "DELETE FROM {{tables.t}}",
        }
    )
    assert outcome.failed_with("U1__t.sql") or (outcome.succeeded and project.exists("app.t")), outcome.text


def test_files_run_in_the_order_of_their_leading_numbers(project: Project) -> None:
    names = ["001_init", "001a_hotfix", "2 more", "003.dot", "004_four", "9 nine", "010 ten"]
    files = {
        f"{name}.sql": ("CREATE TABLE {{tables.o}} (n serial, name text); " if number == 0 else "")
        + f"INSERT INTO {{{{tables.o}}}} (name) VALUES ('{name}')"
        for number, name in enumerate(names)
    }
    outcome = project.apply(files)
    if outcome.succeeded:
        assert [name for (name,) in project.sql("SELECT name FROM app.o ORDER BY n")] == names
    else:
        assert outcome.failed_with("001a_hotfix.sql"), outcome.text


@pytest.mark.parametrize("name", ["002_B.SQL", "002_b.Sql"])
def test_an_upper_case_suffix_is_applied_in_its_place_or_refused(project: Project, name: str) -> None:
    outcome = project.apply(
        {"001_a.sql": T, name: SEED, "003_c.sql": "CREATE TABLE {{tables.c}} AS SELECT count(*) FROM {{tables.t}}"}
    )
    if outcome.succeeded:
        assert project.sql("SELECT * FROM app.c") == [(2,)]
    else:
        assert outcome.failed_with(name), outcome.text


def test_migrations_in_subfolders_are_run_or_refused(project: Project) -> None:
    outcome = project.apply(
        {
            "migration_lock.toml": 'provider = "postgresql"\n',
            "20240101000000_init/migration.sql": T,
            "20240102000000_more/migration.sql": "ALTER TABLE {{tables.t}} ADD x int",
        }
    )
    assert (outcome.succeeded and project.exists("app.t")) or outcome.failed_with("20240101000000_init"), outcome.text


@pytest.mark.parametrize("change", [b"\xef\xbb\xbf%s", b"%s\n\n", b"\r\n%s"])
def test_a_byte_order_mark_or_white_space_is_not_a_change(project: Project, change: bytes) -> None:
    content = b"CREATE TABLE {{tables.t}} (id int);\nSELECT 1;\n"
    assert project.apply({"001.sql": content}).succeeded
    outcome = project.apply({"001.sql": change % content, "002.sql": "CREATE TABLE {{tables.u}} ()"})
    assert outcome.succeeded, outcome.text
    assert project.exists("app.u")
