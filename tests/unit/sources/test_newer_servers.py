"""A server that is newer than the grammar decides about the statements that the parser does not know."""

from __future__ import annotations

import pytest

from pgdbm import MigrationFileError
from pgdbm.migrations.engine.script import transaction_modes
from pgdbm.migrations.sources.migration import read_migration
from pgdbm.migrations.sources.parser import GRAMMAR_VERSION, ParsedMigration, parse

NEWER = GRAMMAR_VERSION + 1


def parsed(content: str, version: int = NEWER) -> ParsedMigration:
    return parse(read_migration("001_x.sql", content.encode()), "app", version)


def test_only_the_statement_with_new_syntax_is_unknown() -> None:
    found = parsed("CREATE TABLE a ();\n\n-- new\nFROBNICATE TABLE a;\nCREATE TABLE b ();")
    assert [one.traits.kind for one in found.statements] == ["create_stmt", "unknown", "create_stmt"]
    assert found.position(found.statements[1].start) == (4, 1)
    assert found.text_of(found.statements[1]) == "FROBNICATE TABLE a"


def test_the_others_are_checked() -> None:
    with pytest.raises(
        MigrationFileError, match=r"2:1: statement 2 \(VACUUM\): VACUUM cannot run inside a transaction"
    ):
        parsed("FROBNICATE;\nVACUUM;")


def test_a_server_of_the_same_version_is_not_asked() -> None:
    with pytest.raises(MigrationFileError, match=r'1:1: syntax error at or near "FROBNICATE"'):
        parsed("FROBNICATE;", GRAMMAR_VERSION)


def test_what_would_kill_the_parser_is_refused_for_every_version() -> None:
    with pytest.raises(MigrationFileError, match="chains more than"):
        parsed("FROBNICATE; SELECT " + "1+" * 60_000 + "1")


def test_rows_for_copy_keep_their_statement() -> None:
    found = parsed("FROBNICATE;\nCOPY t FROM stdin;\n1\n\\.\n")
    assert found.statements[1].copy_data is not None


@pytest.mark.parametrize(
    "sql", ["COMMIT AND FROBNICATE", "/* x */ ROLLBACK FROBNICATE", "START TRANSACTION FROBNICATE"]
)
def test_transaction_control_with_new_syntax_is_refused(sql: str) -> None:
    with pytest.raises(MigrationFileError, match=r"1:.*: transaction control does not belong"):
        parsed(f"{sql};\nCREATE TABLE a ();")


def test_new_commands_that_cannot_run_in_a_transaction_are_refused() -> None:
    with pytest.raises(MigrationFileError, match=r"2:1: statement 2 .*REPACK \(CONCURRENTLY\) cannot run inside a"):
        parsed("SELECT 1;\nREPACK (CONCURRENTLY) a;")
    found = parsed("-- pgdbm:no-transaction\nREPACK (CONCURRENTLY) a;\nINSERT INTO a VALUES (1) ON CONFLICT DO SELECT")
    assert [one.traits.non_transactional for one in found.statements] == ["REPACK (CONCURRENTLY)", None]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT begin atomic; COMMIT; SELECT 1 AS end",
        "SELECT 1 AS begin, begin atomic; COMMIT",
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1 AS case; END; COMMIT; SELECT 1 AS end",
        "CREATE FUNCTION f(begin atomic) RETURNS int RETURN 1; COMMIT; SELECT 1 AS end",
        "SELECT E'\\\\'; /* ' */ COMMIT; --'",
        "SELECT $a$ $b$ $a$; COMMIT; SELECT $b$ $b$",
        "SELECT a$b$; COMMIT; SELECT c$b$",
    ],
)
def test_no_commit_hides_in_a_file_with_new_syntax(sql: str) -> None:
    with pytest.raises(MigrationFileError, match="transaction control does not belong"):
        parsed(f"FROBNICATE;\n{sql};")


def test_set_transaction_is_not_taken_from_a_statement_that_the_parser_cannot_read() -> None:
    found = parsed("SET TRANSACTION READ ONLY FROBNICATE; SELECT 1")
    assert transaction_modes(found) == ("BEGIN", frozenset())
