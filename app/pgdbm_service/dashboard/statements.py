"""The statements of a file, for pages that show one of them. Pure."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from pgdbm.errors import AsyncDBError

if TYPE_CHECKING:
    from ..api.modules import MigrationFile

# Longer files take long to parse, and no one reads them statement by statement.
_LONGEST = 200_000
_FIRST_WORDS = 80


class StatementText(NamedTuple):
    """``line`` is its first line in the file, ``sql`` its lines as written."""

    number: int
    line: int
    sql: str

    @property
    def summary(self) -> str:
        """Its beginning, on one line."""
        words = " ".join(line for line in self.sql.split("\n") if not line.lstrip().startswith("--"))
        words = " ".join(words.split())
        return words if len(words) <= _FIRST_WORDS else f"{words[:_FIRST_WORDS]}…"


def statements_of(file: MigrationFile) -> tuple[StatementText, ...]:
    """The statements of ``file`` in order; none if it cannot be parsed or is very long."""
    return _parsed(file.filename, file.checksum, file.sql, file.schema)


@lru_cache(maxsize=64)
def _parsed(filename: str, checksum: str, sql: str, schema: str) -> tuple[StatementText, ...]:
    if len(sql) > _LONGEST:
        return ()
    from pgdbm.migrations import Migration
    from pgdbm.migrations.sources.parser import parse

    try:
        parsed = parse(Migration(filename, checksum, sql), schema)
    except AsyncDBError:
        return ()
    lines = sql.split("\n")
    found = []
    for one in parsed.statements:
        text = parsed.text_of(one)
        begin = one.start + len(text) - len(text.lstrip())
        first, _ = parsed.position(begin)
        last, _ = parsed.position(max(one.end - 1, begin))
        found.append(StatementText(one.number, first, "\n".join(lines[first - 1 : last])))
    return tuple(found)
