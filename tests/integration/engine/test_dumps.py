"""The output of pg_dump is a valid migration."""

from __future__ import annotations

import pytest

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, MigrationError, MigrationExecutionError

DUMP = r"""--
-- PostgreSQL database dump
--

\restrict hJ2v0

SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET row_security = off;

CREATE SCHEMA {schema};

CREATE TABLE {schema}.notes (
    id integer NOT NULL,
    body text
);

COPY {schema}.notes (id, body) FROM stdin;
1	Zoë's {{{{first_name}}}}; -- "not" SQL
2	\N
3	a\tb\\c
\.

ALTER TABLE ONLY {schema}.notes
    ADD CONSTRAINT notes_pkey PRIMARY KEY (id);

\unrestrict hJ2v0
"""


async def test_a_dump_runs_as_it_is(db: AsyncDatabaseManager) -> None:
    files = {"001_dump.sql": DUMP.format(schema=db.schema or "public")}
    result = await AsyncMigrationManager(db, files, "m").apply_pending_migrations()
    assert [one["filename"] for one in result["applied"]] == ["001_dump.sql"]
    rows = await db.fetch_all("SELECT id, body FROM {{tables.notes}} ORDER BY id")
    assert [tuple(row.values()) for row in rows] == [
        (1, 'Zoë\'s {{first_name}}; -- "not" SQL'.replace("{{", "{" * 2)),
        (2, None),
        (3, "a\tb\\c"),
    ]


async def test_a_row_that_is_refused_is_named_by_its_line(db: AsyncDatabaseManager) -> None:
    files = {"001_x.sql": "CREATE TABLE {{tables.t}} (id int);\n\nCOPY {{tables.t}} FROM stdin;\n1\nx\n\\.\n"}
    with pytest.raises(MigrationExecutionError, match=r"001_x\.sql:5:1: statement 2: invalid input syntax") as caught:
        await AsyncMigrationManager(db, files, "m").apply_pending_migrations()
    assert (caught.value.line, caught.value.column) == (5, 1)
    assert not await db.table_exists("t")


async def test_many_rows(db: AsyncDatabaseManager) -> None:
    rows = "".join(f"{number}\tsome text of row {number}\n" for number in range(20_000))
    files = {
        "001_t.sql": "CREATE TABLE {{tables.t}} (id int, v text);",
        "002_rows.sql": "COPY {{tables.t}} FROM stdin;\n" + rows + "\\.\nANALYZE {{tables.t}};",
    }
    await AsyncMigrationManager(db, files, "m").apply_pending_migrations()
    assert await db.fetch_value("SELECT count(*) FROM {{tables.t}}") == 20_000


async def test_a_rehearsal_copies_too(db: AsyncDatabaseManager) -> None:
    files = {"001_t.sql": "CREATE TABLE {{tables.t}} (id int);\nCOPY {{tables.t}} FROM stdin;\n1\nx\n\\.\n"}
    rehearsal = await AsyncMigrationManager(db, files, "m").rehearse()
    assert rehearsal.failure is not None
    assert (rehearsal.failure.statement, rehearsal.failure.line) == (2, 4)


async def test_a_rehearsal_of_a_dump_says_why_it_cannot_be_built(db: AsyncDatabaseManager) -> None:
    migrations = AsyncMigrationManager(db, {"001_dump.sql": DUMP.format(schema=db.schema or "public")}, "m")
    await migrations.apply_pending_migrations()
    await db.execute("DROP TABLE {{tables.schema_migrations}}")
    rehearsal = await migrations.rehearse()
    assert rehearsal.failure is not None
    assert "Write {{schema}} instead" in (rehearsal.failure.hint or "")
    with pytest.raises(MigrationError, match="--no-check"):
        await migrations.baseline("001")
    assert await migrations.baseline("001", check=False) == ["001_dump.sql"]
