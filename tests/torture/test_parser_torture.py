"""Malformed files: the parser refuses them with a position or loses nothing of them, and the server agrees."""

from __future__ import annotations

import asyncio
import random
import re
from typing import TYPE_CHECKING

import asyncpg
import hypothesis
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgdbm import MigrationFileError
from pgdbm.migrations.sources.batches import parse_all
from pgdbm.migrations.sources.migration import read_migration
from pgdbm.migrations.sources.parser import GRAMMAR_VERSION, parse
from pgdbm.migrations.sources.psql_scripts import read_script

from .effort import SEED, rounds
from .mutations import SOURCES, mutated

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgdbm.migrations.sources.parser import ParsedMigration

_OUTSIDE = "-- pgdbm:no-transaction\n"
_IN_FAILED_TRANSACTION = "25P02"
_SEVERAL = "cannot insert multiple commands into a prepared statement"
# What a file may hold between statements: white space, semicolons, comments to the end of the line or nested ones.
_BETWEEN = re.compile(r"(?:[ \t\n\r\f\v;]|--[^\n\r]*)+")

# The known differences of libpg_query: it does not allow a comment between the parts of a string that continues in
# the next line, and it takes parameters, which no migration can have, where PostgreSQL does not.
_KNOWN_TO_DIFFER = re.compile(r"'\s*--[^\n\r]*[\n\r](?:\s|--[^\n\r]*[\n\r])*'|[$]\d")


def parsed(content: bytes) -> ParsedMigration:
    return parse(read_migration("1_x.sql", content), "app")


def rest_of(between: str) -> str:
    """The text between two statements without white space, semicolons and comments."""
    left, depth, position = [], 0, 0
    while position < len(between):
        if between.startswith("/*", position):
            depth, position = depth + 1, position + 2
        elif depth and between.startswith("*/", position):
            depth, position = depth - 1, position + 2
        elif depth:
            position += 1
        elif match := _BETWEEN.match(between, position):
            position = match.end()
        else:
            left.append(between[position])
            position += 1
    return "".join(left) + "/*" * depth


class Oracle:
    """The verdict of the server on a text, without running it.

    In a failed transaction the server parses what it is sent, and then refuses to analyze it.
    """

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def prepare(self) -> None:
        await self._connection.execute("BEGIN")
        with pytest.raises(asyncpg.DivisionByZeroError):
            await self._connection.execute("SELECT 1/0")

    async def verdict(self, text: str) -> tuple[str, int | None]:
        """``one`` command (or none), ``several``, or ``refused``, and where, in characters from 0."""
        try:
            await self._connection.prepare(text)
        except asyncpg.PostgresError as error:
            if error.sqlstate == _IN_FAILED_TRANSACTION:
                return "one", None
            if str(error) == _SEVERAL:
                return "several", None
            return "refused", int(error.position) - 1 if error.position else None
        return "one", None  # statements that end a transaction may be prepared in a failed one

    async def check(self, content: bytes) -> str:
        """Compare the parser's verdict with the server's, and return it."""
        try:
            migration = parsed(content)
        except MigrationFileError as error:
            return await self._check_refused(content, error)
        text = migration.rendered.text
        end, count = 0, len(migration.statements)
        for statement in migration.statements:
            assert statement.start >= end
            assert rest_of(text[end : statement.start]) == ""
            end = statement.end
            one = migration.text_of(statement)
            assert _KNOWN_TO_DIFFER.search(one) or (await self.verdict(one))[0] == "one", one
        assert rest_of(text[end:]) == ""
        if not _KNOWN_TO_DIFFER.search(text):
            assert (await self.verdict(text))[0] == ("several" if count > 1 else "one")
        return f"{min(count, 2)} statements"

    async def _check_refused(self, content: bytes, error: MigrationFileError) -> str:
        assert error.migration_file == "1_x.sql"
        others = r"statement \d|unknown placeholder|not UTF-8|the line `-- pgdbm"
        syntax = re.match(rf"1_x\.sql:\d+:\d+: (?!{others})", str(error))
        if not syntax or error.column is None:
            return "refused"
        try:
            text = read_script(read_migration("1_x.sql", content).content, "app").sql
        except MigrationFileError:
            return "refused"  # before it was parsed: UTF-16, for one
        if "{{" not in text and not _KNOWN_TO_DIFFER.search(text):
            verdict, offset = await self.verdict(text)
            assert verdict == "refused", error
            assert offset is not None
            if "--" in text or "/*" in text:
                return "syntax error"
            before = text[:offset]
            line = before.count("\n") + 1
            assert (error.line, error.column) == (line, offset - before.rfind("\n")), (text, offset)
        return "syntax error"


def run_with_oracle(dsn: str, examples: Callable[[Callable[[bytes], str]], None]) -> None:
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(dsn))
        try:
            if connection.get_server_version().major != GRAMMAR_VERSION:
                pytest.skip(f"the grammar is that of PostgreSQL {GRAMMAR_VERSION}")
            oracle = Oracle(connection)
            runner.run(oracle.prepare())
            examples(lambda content: runner.run(oracle.check(content)))
        finally:
            runner.run(connection.close())


_SETTINGS = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck), print_blob=True)


def test_mutated_files_are_parsed_or_refused(postgres_dsn: str) -> None:
    seen: set[str] = set()

    def examples(check: Callable[[bytes], str]) -> None:
        rng = random.Random(SEED)
        for number in range(rounds(500, 40_000)):
            content = mutated(rng)
            try:
                seen.add(check(content))
            except Exception as error:
                raise AssertionError(f"seed {SEED}, example {number}: {content!r}") from error

    run_with_oracle(postgres_dsn, examples)
    assert seen >= {"syntax error", "refused", "1 statements", "2 statements"}


def outcome(parse: Callable[[], list[ParsedMigration]]) -> object:
    try:
        return [(one.rendered.text, one.statements, one.transactional) for one in parse()]
    except MigrationFileError as error:
        return str(error)


def test_files_parsed_together_equal_files_parsed_alone() -> None:
    rng = random.Random(SEED)
    together = 0
    for number in range(rounds(300, 20_000)):
        contents = [mutated(rng) if rng.random() < 0.3 else rng.choice(SOURCES) for _ in range(4)]
        migrations = []
        for version, content in enumerate(contents, 1):
            try:
                migrations.append(read_migration(f"{version}_x.sql", content))
            except MigrationFileError:
                continue
        alone = outcome(lambda given=migrations: [parse(one, "app") for one in given])
        assert outcome(lambda given=migrations: parse_all(tuple(given), "app")) == alone, (SEED, number, contents)
        together += not isinstance(alone, str)
    assert together


def test_every_file_of_the_repository_is_parsed(postgres_dsn: str) -> None:
    def examples(check: Callable[[bytes], str]) -> None:
        for source in SOURCES:
            check(source)

    run_with_oracle(postgres_dsn, examples)


def test_random_bytes_are_parsed_or_refused_as_by_the_server(postgres_dsn: str) -> None:
    def examples(check: Callable[[bytes], str]) -> None:
        @hypothesis.seed(SEED)
        @settings(_SETTINGS, max_examples=rounds(150, 5000))
        @hypothesis.example(b"\xfe\xff")
        @given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda text: text.encode())))
        def example(content: bytes) -> None:
            check(content)
            check(_OUTSIDE.encode() + content)

        example()

    run_with_oracle(postgres_dsn, examples)
