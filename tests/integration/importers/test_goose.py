"""goose's history, as its table is documented, and its files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgdbm.migrations.importers import convert

from .test_dbmate import write

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Database

FILES = {
    "00001_users.sql": (
        "-- +goose Up\nCREATE TABLE public.users (id int);\n"
        "-- +goose StatementBegin\nCREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS $$ SELECT 1; $$;\n"
        "-- +goose StatementEnd\n\n-- +goose Down\nDROP FUNCTION public.f();\nDROP TABLE public.users;\n"
    ),
    "00002_index.sql": (
        "-- +goose NO TRANSACTION\n--+goose up\nCREATE INDEX CONCURRENTLY i ON public.users (id);\n"
        "-- +goose down\nDROP INDEX CONCURRENTLY public.i;\n"
    ),
    "00003_empty.sql": "-- +goose Up\n\n-- +goose Down\n",
    "00004_later.sql": "-- +goose Up\r\nCREATE TABLE public.later ();\r\n",
}
TABLE = (
    "CREATE TABLE goose_db_version (id serial PRIMARY KEY, version_id bigint NOT NULL, is_applied boolean NOT NULL,"
    " tstamp timestamp NOT NULL DEFAULT now());"
)


async def test_versions_that_goose_applied_are_imported(target: Database, tmp_path: Path) -> None:
    # Version 2 was reverted and applied again, version 4 was reverted.
    await target.run(
        f"{TABLE} INSERT INTO goose_db_version (version_id, is_applied, tstamp)"
        " SELECT version, applied, timestamp '2024-01-01 00:00' + number * interval '1 hour'"
        " FROM unnest(ARRAY[0, 1, 2, 4, 3, 2, 4, 2], ARRAY[true, true, true, true, true, false, false, true])"
        " WITH ORDINALITY AS rows (version, applied, number)"
    )
    ours = tmp_path / "ours"
    assert convert("goose", write(tmp_path / "theirs", FILES), ours).notes == ()
    report = await target.take("goose", ours)
    assert report.imported == ("00001_users.sql", "00003_empty.sql", "00002_index.sql")
    assert (report.unmatched, report.pending) == ((), ("00004_later.sql",))
    assert (await target.rows())["00002_index.sql"].applied_at.hour == 8
    assert await target.apply(ours) == ["00004_later.sql"]


async def test_files_with_sections_are_refused(target: Database) -> None:
    await target.run(TABLE)
    error = await target.refusal("goose", FILES)
    assert (error.reason, error.files) == ("unconverted", tuple(FILES)[:3])


async def test_converted_files_build_a_new_database(target: Database, tmp_path: Path) -> None:
    ours = tmp_path / "ours"
    conversion = convert("goose", write(tmp_path / "theirs", FILES), ours)
    assert {path.name: path.read_text() for path in ours.iterdir()} == {
        "00001_users.sql": (
            "CREATE TABLE public.users (id int);\n"
            "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS $$ SELECT 1; $$;\n"
        ),
        "00001_users.down.sql": "DROP FUNCTION public.f();\nDROP TABLE public.users;\n",
        "00002_index.sql": "-- pgdbm:no-transaction\nCREATE INDEX CONCURRENTLY i ON public.users (id);\n",
        "00002_index.down.sql": "-- pgdbm:no-transaction\nDROP INDEX CONCURRENTLY public.i;\n",
        "00003_empty.sql": "-- Nothing to do.\n",
        "00004_later.sql": "CREATE TABLE public.later ();\n",
    }
    assert len(conversion.written) == 6
    assert await target.apply(ours) == list(FILES)


def test_files_that_cannot_be_converted_are_named(tmp_path: Path) -> None:
    files = {
        "00001_a.sql": "-- +goose ENVSUB ON\n-- +goose Up\nCREATE ROLE ${NAME};\n",
        "00002_b.go": "",
        "00003_c.sql": "SELECT 1;",
        "notes.sql": "SELECT 1;",
    }
    conversion = convert("goose", write(tmp_path / "theirs", files), tmp_path / "ours")
    assert conversion.written == ("00001_a.sql",)
    assert conversion.notes[0] == ("00001_a.sql: uses ENVSUB; pgdbm does not substitute environment variables.")
    assert conversion.notes[-2:] == (
        "00002_b.go: skipped; pgdbm runs only SQL.",
        "00003_c.sql: has no section `-- +goose Up`; skipped.",
    )
