"""How much memory a large file takes, as a ratio to its size, over what the command takes for a small one."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SIZE = 12_000_000
MOST = 4.5
TABLE = "CREATE TABLE {{tables.entry}} (id int, note text);\n"
PROGRAM = """
import re, sys
from pathlib import Path
from pgdbm.cli import main

try:
    main(["migrate", sys.argv[3], "m", "--dir", sys.argv[2], "--database-url", sys.argv[1]])
except SystemExit as ended:
    assert not ended.code, ended
# Not getrusage: that of a child begins with the peak of its parent.
print(int(re.search("VmHWM:(.*) kB", Path("/proc/self/status").read_text())[1]) * 1024, file=sys.stderr)
"""


def one_insert() -> str:
    row = "({0}, 'note {0} of a row with some words in it'),\n"
    rows = "".join(row.format(number) for number in range(SIZE // len(row)))
    return f"INSERT INTO {{{{tables.entry}}}} VALUES\n{rows}(0, '');\n"


def many_inserts() -> str:
    row = "INSERT INTO {{{{tables.entry}}}} VALUES ({0}, 'note {0} of a row with some words in it');\n"
    return "".join(row.format(number) for number in range(SIZE // len(row)))


def peak(database: str, folder: Path, command: str) -> int:
    arguments = [sys.executable, "-c", PROGRAM, database, str(folder), command]
    done = subprocess.run(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stderr.split()[-1])


@pytest.mark.parametrize(
    ("command", "content"),
    [("plan", one_insert), ("apply", many_inserts)],
    ids=["plan of one INSERT", "apply of many"],
)
def test_a_large_file_takes_a_few_times_its_size(
    database: str, tmp_path: Path, command: str, content: Callable[[], str]
) -> None:
    (tmp_path / "1_entry.sql").write_text(TABLE)
    base = peak(database, tmp_path, command)
    size = (tmp_path / "2_rows.sql").write_text(content())
    ratio = (peak(database, tmp_path, command) - base) / size
    assert ratio <= MOST
