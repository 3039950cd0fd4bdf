"""The header of a backfill, and what is refused before anything runs."""

from __future__ import annotations

import pytest

from pgdbm import MigrationFileError
from pgdbm.migrations.sources.batches import parse_all
from pgdbm.migrations.sources.directives import directives, misplaced
from pgdbm.migrations.sources.parser import ParsedMigration, parse
from pgdbm.migrations.sources.source import MemorySource

HEADER = "-- pgdbm:backfill table={{tables.orders}} key=id"
UPDATE = "UPDATE {{tables.orders}} SET cents = total * 100 WHERE id BETWEEN $from AND $to"


def parsed(content: str, filename: str = "012_backfill.sql") -> ParsedMigration:
    return parse(MemorySource({filename: content}).collect()[0], "app")


def test_a_header_with_every_option() -> None:
    backfill = parsed(
        "-- Totals in cents.\n-- pgdbm:backfill table={{tables.orders}} key=tenant,id batch=50 target=1s pause=100ms "
        "rate=900 max_lag=2min max_lag_size=64MB autovacuum=ignore background\n"
        "DELETE FROM {{tables.orders}} WHERE (tenant, id) BETWEEN $from AND $to;"
    ).backfill
    assert backfill is not None
    assert (backfill.table, backfill.key, backfill.batch, backfill.rate) == ('"app".orders', ("tenant", "id"), 50, 900)
    assert (backfill.target_s, backfill.pause_s) == (1.0, 0.1)
    assert (backfill.max_lag_s, backfill.max_lag_bytes) == (120.0, 64 * 1024 * 1024)
    assert backfill.in_background
    assert not backfill.waits_for_vacuum


def test_the_bounds_of_a_batch_keep_the_positions_of_the_file() -> None:
    file = parsed(
        f"{HEADER}\nUPDATE {{{{tables.orders}}}} SET note = '$from' WHERE id BETWEEN $from AND $to AND x IS NULL"
    )
    text = file.text_of(file.statements[0])
    assert file.backfill is not None
    bound = file.backfill.between(text, file.statements[0].start, "'1'::bigint", "'20000'::bigint")
    assert bound.text == (
        """UPDATE "app".orders SET note = '$from' WHERE id BETWEEN '1'::bigint AND '20000'::bigint AND x IS NULL"""
    )
    for word in ("SET", "AND x", "NULL"):
        assert text[bound.offset_in_file(bound.text.index(word)) :].startswith(word)


def test_what_follows_the_line_verify_must_return_no_row() -> None:
    file = parsed(f"{HEADER}\n{UPDATE};\n-- pgdbm:verify\nSELECT id FROM {{{{tables.orders}}}} WHERE cents IS NULL;")
    assert file.queries == {2}
    assert not file.transactional


def test_a_file_that_verifies_has_only_queries() -> None:
    assert parsed("-- pgdbm:verify\nSELECT 1 WHERE false; SELECT 2 WHERE false").queries == {1, 2}
    with pytest.raises(MigrationFileError, match=r"^012_backfill.sql:2:1: .* are queries"):
        parsed("-- pgdbm:verify\nDELETE FROM {{tables.orders}}")


@pytest.mark.parametrize(
    ("content", "where", "reason"),
    [
        (f"-- pgdbm:backfill key=id\n{UPDATE}", "1:1", "needs the table"),
        (f"-- pgdbm:backfill table=orders;drop key=id\n{UPDATE}", "1:1", "needs the table"),
        (f"-- pgdbm:backfill table={{{{tables.orders}}}}\n{UPDATE}", "1:1", "needs the key"),
        (f"\n{HEADER} batch=0\n{UPDATE}", "2:1", "batch=0 is not valid"),
        (f"{HEADER} speed=9\n{UPDATE}", "1:1", "speed=9 is not valid"),
        (f"{HEADER} key=other\n{UPDATE}", "1:1", "given twice"),
        (f"{HEADER}\n{HEADER}\n{UPDATE}", "2:1", "two lines"),
        (f"{HEADER}\n{UPDATE.replace(' AND $to', ' AND 7')}", "2:1", "has no \\$to"),
        (f"{HEADER}\nUPDATE {{{{tables.orders}}}} SET x = 1", "2:1", "has no \\$from and no \\$to"),
        (f"{HEADER}\n{UPDATE.replace('cents', 'id')}", "2:1", "changes id"),
        (f"{HEADER}\n{UPDATE};\n{UPDATE}", "3:1", "one statement"),
        (f"{HEADER}\nSELECT 1", "2:1", "one UPDATE, DELETE or INSERT"),
        (f"{HEADER}\nINSERT INTO {{{{tables.orders}}}} VALUES (1)", "2:1", "one UPDATE, DELETE or INSERT"),
        (f"{HEADER}\n-- nothing", "1:1", "has none"),
        (f"SELECT 1;\n{HEADER}", "2:1", "only above the first statement"),
    ],
)
def test_what_cannot_run_in_batches_is_refused(content: str, where: str, reason: str) -> None:
    with pytest.raises(MigrationFileError, match=rf"^012_backfill.sql:{where}: .*{reason}"):
        parsed(content)


@pytest.mark.parametrize("filename", ["R__totals.sql", "012_backfill.down.sql"])
def test_only_migrations_with_a_version_are_backfills(filename: str) -> None:
    migration = MemorySource({"012_backfill.sql": f"{HEADER}\n{UPDATE}"}).collect()[0]
    with pytest.raises(MigrationFileError, match="a backfill has a version"):
        parse(type(migration)(filename, migration.checksum, migration.content), "app")


def test_a_backfill_among_other_files() -> None:
    files = {"001_a.sql": "SELECT 1", "012_backfill.sql": f"{HEADER}\n{UPDATE}", "013_b.sql": "SELECT 2"}
    assert [one.backfill is not None for one in parse_all(MemorySource(files).collect(), "app")] == [False, True, False]


def test_directives_count_above_the_first_statement() -> None:
    content = "/* -- pgdbm:verify\n-- pgdbm:backfill */\n-- pgdbm:requires 012_backfill\nSELECT '\n-- pgdbm:verify\n'"
    assert [(one.name, one.text) for one in directives(content)] == [("requires", "012_backfill")]
    assert misplaced(content) is None
    assert misplaced(f"{content};\n-- pgdbm:requires 011_x") == ("requires", "011_x", len(content) + 2)
