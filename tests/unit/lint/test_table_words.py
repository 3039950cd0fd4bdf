"""What is known about a table, in words."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pgdbm.migrations.lint import content_in_words, use_in_words

SINCE = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("rows", "size_bytes", "words"),
    [
        (0, 25_000, "no rows"),
        (1, 8192, "1 row, 8.2 kB"),
        (2000, None, "2.0 k rows"),
        (41_000_000, 12_000_000_000, "41 M rows, 12 GB"),
        (None, 8192, "rows not counted yet, 8.2 kB"),
    ],
)
def test_the_content_of_a_table(rows: int | None, size_bytes: int | None, words: str) -> None:
    assert content_in_words(rows, size_bytes) == words


@pytest.mark.parametrize(
    ("reads_per_s", "writes_per_s", "words"),
    [
        (0.0, 0.0, "not used since 2026-01-31"),
        (0.0, 2.0, "no reads, 2 writes/s since 2026-01-31"),
        (1500.0, 0.05, "1.5 k reads/s, 3 writes/min since 2026-01-31"),
        (1 / 3600, 2 / 86_400, "1 read/h, 2 writes/d since 2026-01-31"),
        (0.000_001, 1.0, "less than 1 read/d, 1 write/s since 2026-01-31"),
    ],
)
def test_the_use_of_a_table(reads_per_s: float, writes_per_s: float, words: str) -> None:
    assert use_in_words(reads_per_s, writes_per_s, SINCE, None) == words


@pytest.mark.parametrize(("age_s", "words"), [(0.2, "0 s"), (59.9, "59 s"), (750.0, "12 min"), (90_000.0, "1 d")])
def test_the_oldest_transaction_that_uses_a_table(age_s: float, words: str) -> None:
    since = use_in_words(1.0, 0.0, SINCE, age_s)
    assert since == f"1 read/s, no writes since 2026-01-31; a transaction has used it for {words}"


def test_nothing_is_said_of_what_is_not_known() -> None:
    assert use_in_words(None, None, None, None) == ""
