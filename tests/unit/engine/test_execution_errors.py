"""Errors of the server, with file, statement, line and column."""

from __future__ import annotations

from itertools import islice

import asyncpg
import pytest

from pgdbm.migrations.engine.execution_errors import located, offset_of
from pgdbm.migrations.engine.retries import retry_pauses
from pgdbm.migrations.sources.migration import read_migration
from pgdbm.migrations.sources.parser import ParsedMigration, parse


def postgres_error(message: str = "refused", sqlstate: str = "42P01", **fields: str) -> asyncpg.PostgresError:
    letters = {"detail": "D", "hint": "H", "position": "P", "context": "W"}
    named = {letters[name]: value for name, value in fields.items()}
    return asyncpg.PostgresError.new({"S": "ERROR", "C": sqlstate, "M": message} | named)


def parsed(content: str) -> ParsedMigration:
    return parse(read_migration("001_x.sql", content.encode()), "a_long_schema_name")


def test_the_position_of_the_server_counts_from_one() -> None:
    assert offset_of(postgres_error(position="1")) == 0
    assert offset_of(postgres_error(position="12")) == 11
    assert offset_of(postgres_error()) == 0


@pytest.mark.parametrize(
    ("content", "at", "place"),
    [
        ("SELECT x", "x", (1, 1, 8)),
        ("SELECT 1;\n  SELECT x", "x", (2, 2, 10)),
        ("SELECT 1;\nSELECT {{tables.t}}.x", "x", (2, 2, 21)),
        ("SELECT 'größe';\nSELECT '🐘', x", "x", (2, 2, 13)),
        ("\n\n-- comment\nSELECT x", "x", (1, 4, 8)),
    ],
)
def test_a_place_in_the_rendered_text_becomes_one_in_the_file(
    content: str, at: str, place: tuple[int, int, int]
) -> None:
    migration = parsed(content)
    error = located(postgres_error(), migration, migration.rendered.text.rindex(at))
    assert (error.statement, error.line, error.column) == place
    assert str(error).startswith(f"001_x.sql:{place[1]}:{place[2]}: statement {place[0]}: refused (SQLSTATE 42P01)")


def test_the_message_has_the_text_of_the_server() -> None:
    error = located(
        postgres_error("no", detail="the detail", hint="the hint", context="the context"), parsed("SELECT 1"), 0
    )
    assert all(text in str(error) for text in ("the detail", "the hint", "the context"))
    assert (error.sqlstate, error.sql_error, error.detail, error.hint) == ("42P01", "no", "the detail", "the hint")


def test_advice_follows_the_hint_of_the_server() -> None:
    found = located(postgres_error("no", hint="Use a cast."), parsed("SELECT 1"), 0, "Write app.f.")
    assert found.hint == "Use a cast. Write app.f."
    assert "Use a cast." not in found.message + found.summary
    assert located(postgres_error("no"), parsed("SELECT 1"), 0).hint is None


def test_the_message_says_what_remains_applied() -> None:
    assert "The file was rolled back." in str(located(postgres_error(), parsed("SELECT 1;\nSELECT x"), 12))
    head = "-- pgdbm:no-transaction\n"
    migration = parsed(f"{head}SELECT 1;\nSELECT 2;\nSELECT x")
    third = str(located(postgres_error(), migration, migration.rendered.text.index("x", len(head))))
    assert "The file was rolled back." not in third
    assert "Statements 1 to 2" in third
    assert "remain applied" not in str(located(postgres_error(), migration, len(head)))


def test_pauses_between_attempts_double_up_to_fifteen_seconds() -> None:
    bounds = [0.25, 0.5, 1, 2, 4, 8, 15, 15, 15]
    for pause, bound in zip(islice(retry_pauses(), len(bounds)), bounds, strict=True):
        assert bound / 2 <= pause <= bound
