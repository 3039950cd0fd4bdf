"""Lines for psql are removed, in time that is linear in the length of the file."""

from __future__ import annotations

import time

import pytest

from pgdbm.migrations.sources.psql_scripts import CopyData, read_script


def test_a_file_without_psql_syntax_is_unchanged() -> None:
    content = "SELECT 1;\nCREATE SCHEMA other;\n-- stdin, restrict\n"
    script = read_script(content, "app")
    assert (script.sql, script.copies) == (content, ())


def test_the_line_breaks_of_rows_are_kept() -> None:
    script = read_script("COPY t FROM stdin;\n1\n2\n\\.\nSELECT 1;\nCOPY u FROM STDIN;\n3\n\\.\nSELECT 2;", "app")
    assert script.sql == "COPY t FROM stdin;\n\n\n\nSELECT 1;\nCOPY u FROM STDIN;\n\n\nSELECT 2;"
    assert script.copies == (CopyData("1\n2\n", 2), CopyData("3\n", 7))


def test_lines_may_end_as_on_windows() -> None:
    script = read_script("\\restrict x\r\nCOPY t FROM stdin;\r\n1\r\n\\.\r\nSELECT 1;\r\n", "app")
    assert script.sql == "\nCOPY t FROM stdin;\r\n\n\nSELECT 1;\r\n"
    assert script.copies == (CopyData("1\r\n", 3),)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT copy FROM stdin;",
        "INSERT INTO t SELECT 'copy' FROM stdin;",
        "CREATE FUNCTION f() AS $$ COPY t FROM stdin; $$;",
        "SELECT 'x; COPY t FROM stdin;';",
        "-- COPY t FROM stdin;",
        "/* ; COPY t FROM stdin; */",
        "COPY (SELECT a FROM stdin) TO '/file';",
        "a$copy FROM stdin;",
        "SELECT a copy, copy FROM stdin;",
        "SELECT 'a' copy FROM stdin;",
        'INSERT INTO copy SELECT "copy" copy FROM stdin;',
    ],
)
def test_what_only_looks_like_a_copy(statement: str) -> None:
    content = f"{statement}\n1\n\\.\n"
    assert read_script(content, "app").sql == content


@pytest.mark.parametrize(
    "statement",
    [
        "copy t from Stdin;",
        "Copy t From\n  StdIn;",
        "/* a; b */ copy /* x */ t -- copy\n from /* ; */ stdin;",
        "COPY (SELECT 1) TO '/copy';COPY t FROM STDIN;",
        "SELECT copy;COPY t FROM STDIN;",
        "-- copy\nCOPY t FROM STDIN;",
        'COPY "from stdin" ("copy") FROM STDIN (FORMAT csv, DELIMITER \';\');',
    ],
)
def test_what_is_a_copy(statement: str) -> None:
    script = read_script(f"{statement}\n1\n\\.\n", "app")
    assert script.sql == f"{statement}\n\n\n"
    assert [copy.text for copy in script.copies] == ["1\n"]


def test_create_schema_of_the_module() -> None:
    content = 'CREATE SCHEMA app;\nCREATE SCHEMA "app";\nCREATE SCHEMA APP;\nCREATE SCHEMA "APP";\nCREATE SCHEMA b;\n'
    assert read_script(content, "app").sql.count("IF NOT EXISTS") == 3
    assert read_script(content, None).sql == content


@pytest.mark.parametrize(
    "content",
    [
        "\\restrict x\n" * 40_000,
        "COPY t FROM stdin;\n1\n\\.\n" * 20_000,
        "copy " * 100_000 + "from stdin" + " from stdin" * 20_000,
        "copy from stdin " * 50_000,
        "a copy " * 50_000 + "stdin",
        "'' copy " * 50_000 + "stdin",
        "/**/ copy " * 50_000 + "; stdin",
        'create schema "' * 30_000,
        "CREATE SCHEMA app;\n" * 25_000,
        "COPY t FROM stdin " * 25_000,
        "'; COPY t FROM stdin;\n" * 20_000,
        "stdin " + "é" * 400_000,
        "restrict $" + "$x" * 150_000,
    ],
    ids=[
        "restrict",
        "copies",
        "words",
        "no end",
        "aliases",
        "strings before",
        "comments",
        "open",
        "schemas",
        "endless",
        "strings",
        "word",
        "dollars",
    ],
)
def test_time_is_linear(content: str) -> None:
    started = time.process_time()
    read_script(content, "app")
    assert time.process_time() - started < 3
