"""Files as pg_dump, psql and other tools write them: they run as in psql, or are refused with the remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Project

T = "CREATE TABLE t (id int, v text);\n"


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (f"\\set ON_ERROR_STOP on\n\\echo 'one'\nBEGIN;\n{T}INSERT INTO t VALUES (1, 'a');\nCOMMIT;\n", [(1, "a")]),
        (f"-- Deploy app:t to pg\n\nBEGIN;\n\n{T}\nCOMMIT;\n", []),
        (f"-- AlterEnum\n{T}BEGIN;\nINSERT INTO t VALUES (1, 'a');\nCOMMIT;\n", [(1, "a")]),
        (
            f"{T}COPY t FROM stdin WITH (FORMAT csv, HEADER, NULL 'x');\nid,v\n1,\"a,b\"\n2,x\n\\.\n",
            [(1, "a,b"), (2, None)],
        ),
        (f"{T}COPY t FROM stdin;\n1\ta;b'c$$d\n2\t-- x\n\\.\n".replace("\n", "\r\n"), [(1, "a;b'c$$d"), (2, "-- x")]),
        (f"SET timezone = 'Asia/Tokyo';\n{T}PREPARE p AS INSERT INTO t VALUES (1, 'a');\nEXECUTE p;", [(1, "a")]),
        (f"{T}DECLARE c CURSOR WITH HOLD FOR SELECT 1;\nSELECT pg_advisory_lock(1);\nLISTEN channel;", []),
        (
            f"CREATE TEMP TABLE s ON COMMIT DROP AS SELECT 7 AS a;\n{T}INSERT INTO t SELECT a FROM s;",
            [(7, None)],
        ),
        (f"-- pgdbm:no-transaction\nBEGIN;\n{T}COMMIT;\nCREATE INDEX CONCURRENTLY t_id ON t (id);\nVACUUM t;", []),
    ],
)
def test_what_psql_runs(project: Project, content: str, rows: list[tuple[int, str | None]]) -> None:
    # A second file finds a clean session.
    outcome = project.apply({"001.sql": content, "002.sql": "CREATE TEMP TABLE s (); PREPARE p AS SELECT 1;"})
    assert outcome.succeeded, outcome.text
    assert project.sql("SELECT id, v FROM app.t ORDER BY id") == rows


def test_large_objects_of_a_dump(project: Project) -> None:
    dump = (
        "SELECT pg_catalog.lo_create('4711');\n\nBEGIN;\n\nSELECT pg_catalog.lo_open('4711', 131072);\n"
        "SELECT pg_catalog.lowrite(0, '\\x6162');\nSELECT pg_catalog.lo_close(0);\n\nCOMMIT;\n"
    )
    outcome = project.apply({"001.sql": dump})
    assert outcome.succeeded, outcome.text
    assert project.sql("SELECT data FROM pg_largeobject WHERE loid = 4711") == [(b"ab",)]
    project.sql("SELECT lo_unlink(4711)")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (f"{T}BEGIN;\nSELECT 1;\nROLLBACK;\n", ("001.sql:2:1", "pgdbm:no-transaction")),
        ("\\i other.sql\n", ("001.sql:1:1", "replace the line with its content")),
        (f"{T}\\copy t FROM 'x.csv' CSV\n", ("001.sql:2:1", "COPY … FROM stdin")),
        ("CREATE DATABASE other;\n\\connect other\n", ("001.sql:2:1", "one database")),
        ("SELECT 'CREATE TABLE x ()' \\gexec\n", ("EXECUTE",)),
        ("\\set name app\nSELECT :'name';\n", ("write the value",)),
        (f"{T}COPY t TO stdout;\n", ("COPY", "Remove it")),
        (f"{T}VACUUM t;\n", ("001.sql:2:1", "pgdbm:no-transaction")),
        (f"VACUUM {'t' * 80};\n", (f"statement 1 (VACUUM {'t' * 53}…): VACUUM",)),
        ("ALTER SYSTEM SET work_mem = '5MB';\n", ("pgdbm:no-transaction",)),
    ],
)
def test_what_is_refused_with_what_to_do(project: Project, content: str, words: tuple[str, ...]) -> None:
    outcome = project.apply({"001.sql": content})
    assert outcome.failed_with(*words), outcome.text
    assert not project.exists("app.t")
