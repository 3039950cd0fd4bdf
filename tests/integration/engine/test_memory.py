"""How much memory a large file takes, as a ratio to its size, over what the command takes for a small one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.peak_memory import peak_memory_of_migrate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SIZE = 12_000_000
MOST = 3.7
TABLE = "CREATE TABLE {{tables.entry}} (id int, note text);\n"


def one_insert() -> str:
    row = "({0}, 'note {0} of a row with some words in it'),\n"
    rows = "".join(row.format(number) for number in range(SIZE // len(row)))
    return f"INSERT INTO {{{{tables.entry}}}} VALUES\n{rows}(0, '');\n"


def many_inserts() -> str:
    row = "INSERT INTO {{{{tables.entry}}}} VALUES ({0}, 'note {0} of a row with some words in it');\n"
    return "".join(row.format(number) for number in range(SIZE // len(row)))


@pytest.mark.parametrize(
    ("command", "content"),
    [("plan", one_insert), ("apply", many_inserts)],
    ids=["plan of one INSERT", "apply of many"],
)
def test_a_large_file_takes_a_few_times_its_size(
    database: str, tmp_path: Path, command: str, content: Callable[[], str]
) -> None:
    (tmp_path / "1_entry.sql").write_text(TABLE)
    base = peak_memory_of_migrate(command, database, tmp_path)
    size = (tmp_path / "2_rows.sql").write_text(content())
    ratio = (peak_memory_of_migrate(command, database, tmp_path) - base) / size
    assert ratio <= MOST
