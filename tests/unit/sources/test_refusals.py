"""Files of other tools and of psql are refused with the remedy, in a message of limited length."""

from __future__ import annotations

import pytest

from pgdbm import MigrationFileError
from pgdbm.migrations.sources.migration import read_migration
from pgdbm.migrations.sources.parser import parse

UP = "CREATE TABLE users (id int);\n"
DOWN = "DROP TABLE users;\n"


@pytest.mark.parametrize(
    ("tool", "mark"),
    [
        ("goose", "-- +goose Down"),
        ("goose", "--+goose down"),
        ("dbmate", "-- migrate:down"),
        ("dbmate", "-- migrate:down transaction:false"),
        ("sql-migrate", "-- +migrate Down"),
        ("node-pg-migrate", "-- Down Migration"),
        ("MyBatis", "-- //@UNDO"),
        ("rambler", "-- rambler down"),
        ("micrate", "-- +micrate Down"),
        ("Play", "-- !Downs"),
        ("tern", "---- create above / drop below ----"),
    ],
)
def test_a_down_section_is_refused(tool: str, mark: str) -> None:
    with pytest.raises(MigrationFileError) as caught:
        parse(read_migration("001_users.sql", f"{UP}\n{mark}\n{DOWN}".encode()), "app")
    assert f"001_users.sql:3:1: this section of {tool} would be executed" in str(caught.value)
    assert "NAME.down.sql" in str(caught.value)
    assert (f"convert --from {tool}" in str(caught.value)) is (tool in ("goose", "dbmate"))


@pytest.mark.parametrize(
    "content",
    [
        f"-- +goose Up\n-- +goose StatementBegin\n{UP}-- +goose StatementEnd\n",
        f"-- migrate:up\n{UP}",
        f"{UP}-- migrated down the road\n",
        f"{UP}-- down\n",
        f"-- up\n{UP}-- rollback of the other is not needed\n",
        "SELECT '\n-- +goose Down\n';",
        "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$\n-- migrate:down\n$$;",
    ],
)
def test_other_files_are_accepted(content: str) -> None:
    assert parse(read_migration("001_users.sql", content.encode()), "app").statements


def test_a_marker_below_the_first_statement_is_refused() -> None:
    with pytest.raises(MigrationFileError, match=r"001_x\.sql:2:1: .* counts only above the first statement"):
        parse(read_migration("001_x.sql", b"SELECT 1;\n-- pgdbm:no-transaction\nSELECT 2"), "app")


@pytest.mark.parametrize(
    ("up", "down"),
    [("-- UP", "-- DOWN"), ("-- ==== UP ====", "-- ==== DOWN ===="), ("-- @up", "--@down"), ("-- do", "-- undo:")],
)
def test_plain_words_mark_sections_if_both_are_there(up: str, down: str) -> None:
    with pytest.raises(MigrationFileError, match=r"001_users\.sql:3:1: this section of another tool"):
        parse(read_migration("001_users.sql", f"{up}\n{UP}{down}\n{DOWN}".encode()), "app")


@pytest.mark.parametrize(
    ("name", "tool"),
    [
        ("U1__users.sql", "flyway"),
        ("U1.2__users.sql", "flyway"),
        ("U1_2__more.sql", "flyway"),
        ("B3__all.sql", "flyway"),
        ("afterMigrate.sql", "flyway"),
        ("beforeEachMigrate__log.sql", "flyway"),
        ("20240101_01_users.rollback.sql", "yoyo"),
        ("post-apply.sql", "yoyo"),
    ],
)
def test_a_file_that_another_tool_runs_at_other_times_is_refused(name: str, tool: str) -> None:
    with pytest.raises(MigrationFileError, match=rf"of {tool} would be executed (.|\n)* convert --from {tool}"):
        parse(read_migration(name, DOWN.encode()), "app")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-16-le"])
def test_utf_16_is_named(encoding: str) -> None:
    with pytest.raises(MigrationFileError, match=r"^001_users\.sql:1(:1)?: UTF-16\nHint: Save the file as UTF-8\."):
        read_migration("001_users.sql", UP.encode(encoding))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (f"-- Revert app:users from pg\n\n{DOWN}", r":1:1: a sqitch revert script .*\n.* NAME\.down\.sql"),
        (f"-- atlas:checkpoint\n\n{UP}", r":1:1: an Atlas checkpoint .*\n.*Remove"),
        (
            f"--liquibase formatted sql\n\n--changeset bob:1\n{UP}--changeset bob:2 context:test\n{DOWN}",
            ":5:1: this liquibase changeset would be executed regardless of its context",
        ),
        (
            f"-- liquibase formatted sql\n-- changeset bob:2 dbms:h2 runOnChange:true\n{UP}",
            ":2:1: this liquibase changeset would be executed regardless of its dbms",
        ),
    ],
)
def test_what_other_tools_run_at_other_times_is_refused(content: str, reason: str) -> None:
    with pytest.raises(MigrationFileError, match=rf"001_users\.sql{reason}"):
        parse(read_migration("001_users.sql", content.encode()), "app")


@pytest.mark.parametrize(
    "content",
    [
        f"-- Deploy app:users to pg\n-- requires: appschema\n\n{UP}",
        f"--liquibase formatted sql\n--changeset bob:1 splitStatements:false\n{UP}--rollback {DOWN}",
        f"-- Revert the change from yesterday\n{UP}",
        f"-- changeset bob:1 context:test\n{UP}",
    ],
)
def test_files_that_run_the_same_in_pgdbm_are_accepted(content: str) -> None:
    assert parse(read_migration("001_users.sql", content.encode()), "app").statements


def test_other_names_with_a_u_are_accepted() -> None:
    assert parse(read_migration("Users__1.sql", UP.encode()), "app").statements


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        ("INSERT INTO t VALUES (:id);", "psql variables"),
        ("INSERT INTO t VALUES (:'id');", "psql variables"),
        ('SELECT * FROM :"t";', "psql variables"),
        ("\\set x 1\nSELECT 1;", "\\set is a psql command"),
        ("SELECT 1;\n\\i other.sql\n", "\\i is a psql command"),
        ("SELECT\u00a01;", "U+00A0"),
        ("SELECT 1;\n\ufeffSELECT 2;", "U+FEFF"),
        ("SET standard_conforming_strings = off;\nSELECT 'it\\'s';", "standard_conforming_strings"),
        ("CREATE TABLE ${schema}.t (id int);", "{{schema}}"),
        ("SELECT 1;\n{% if x %}SELECT 2;{% endif %}", "Templates of other tools"),
        ("<<<<<<< HEAD\nSELECT 1;\n=======\nSELECT 2;\n>>>>>>> main\n", "merge conflict"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12\n", "git lfs pull"),
        ("```sql\nSELECT 1;\n```\n", "Markdown"),
        ("CREATE TABLE `t` (id int);", "double quotes"),
        ("SELECT 1;\nGO\nSELECT 2;\nGO\n", "Statements end with `;`"),
        ("SELECT 1;\x1a", "U+001A"),
        ("# a comment\nSELECT 1;", "A comment begins with"),
        ("#!/usr/bin/env psql\nSELECT 1;", "A comment begins with"),
        ("CREATE TABLE t (id int AUTO_INCREMENT);", "AS IDENTITY"),
        ("DELIMITER //\nSELECT 1;//\n", "Statements end with `;`"),
        ("SELECT 1;\n/\n", "Statements end with `;`"),
        ("SELECT 1;\n/\r\nSELECT 2;\n/", "Statements end with `;`"),
        ("set standard_conforming_strings to 'off';\nSELECT 'it\\'s';", "standard_conforming_strings"),
    ],
)
def test_foreign_syntax_is_refused_with_a_hint(content: str, hint: str) -> None:
    with pytest.raises(MigrationFileError) as caught:
        parse(read_migration("001_x.sql", content.encode()), "app")
    assert hint in (caught.value.hint or "")
    assert str(caught.value) == f"{caught.value.message}\nHint: {caught.value.hint}"


@pytest.mark.parametrize("content", ["SELEC 1;", "SELECT 1 FROM;", "SELECT {{nothing}};"])
def test_there_is_no_hint_that_repeats_the_message(content: str) -> None:
    with pytest.raises(MigrationFileError) as caught:
        parse(read_migration("001_x.sql", content.encode()), "app")
    assert caught.value.hint is None


@pytest.mark.parametrize("name", ["{{tables." + "x" * 100_000 + "}}", "{{" + "x" * 100_000 + "}}", '"' + "x" * 100_000])
def test_a_message_does_not_quote_the_whole_file(name: str) -> None:
    with pytest.raises(MigrationFileError) as caught:
        parse(read_migration("001_x.sql", f"SELECT {name}".encode()), "app")
    assert len(str(caught.value)) < 1_000
    assert len(caught.value.hint or "") < 1_000
