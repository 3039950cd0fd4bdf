"""Reading the pending files as the engine does against the bare parser on the same texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import postgast

from pgdbm.migrations.sources.batches import parse_all
from pgdbm.migrations.sources.migration import read_migration

from .databases import ddl, insert
from .harness import race, timed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pgdbm.migrations import Migration

_COUNT = 10_000
_KINDS: tuple[tuple[str, Callable[[int], str], float], ...] = (
    ("one insert each", insert, 0.9),
    ("a table and two indexes each", ddl, 1.4),
)


async def main(_dsn: str, _folder: Path, rounds: int) -> None:
    for what, body, bound in _KINDS:
        migrations = tuple(
            read_migration(f"{number:05}_thing.sql", body(number).encode()) for number in range(1, _COUNT + 1)
        )
        texts = [one.rendered.text for one in parse_all(migrations, "app")]

        async def ours(given: tuple[Migration, ...] = migrations) -> None:
            parse_all(given, "app")

        async def bare(given: list[str] = texts) -> None:
            for text in given:
                postgast.parse(text)

        candidates = {
            "templates, statements, checks": lambda work=ours: timed(work),
            "the bare parser": lambda work=bare: timed(work),
        }
        result = await race(f"Parsing {_COUNT:,} files, {what}", candidates, rounds * 2)
        result.show(("templates, statements, checks", "the bare parser", bound))
