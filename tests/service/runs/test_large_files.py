"""How much memory a migrate of a large file takes, as a ratio to its size."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = 16_000_000
MOST = 4.5
ROW = (
    "INSERT INTO {{{{tables.entry}}}} VALUES ({0}, 'note {0} of a row with some words in it, which make it longer');\n"
)


def peak(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def test_a_large_file_takes_a_few_times_its_size(launch: Callable[..., Any], repo: Any, database: str) -> None:
    table = "CREATE TABLE {{tables.entry}} (id int, note text)"
    repo.write("small", _001_entry=table)
    process = launch(DATABASE_URL=database, PGDBM_DATABASE_TIMEOUT_S="60")
    with httpx2.Client(base_url=process.url(), timeout=120) as client:
        assert client.post("/modules/small/migrate").status_code == 200
        before = peak(process.popen.pid)
        content = "".join(ROW.format(number) for number in range(SIZE // len(ROW)))
        repo.write("large", _001_entry=table, _002_rows=content)
        assert client.post("/repo/sync").status_code == 200
        answer = client.post("/modules/large/migrate", json={"wait_s": 100})
        assert answer.json()["status"] == "success", answer.text
        ratio = (peak(process.popen.pid) - before) / len(content)
    assert ratio <= MOST
