"""A process that reads and writes a row every 5 ms, and prints how long each took at most. Run as a script.

As a process of its own it does not wait for the program that migrates. What it asks of another table shows for
how long it waits anyway, because of the machine.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import asyncpg

_PAUSE_S = 0.005
_ROWS = 1000
# The statements use columns that no change affects.
_STATEMENTS = {
    "read": "SELECT id FROM app.big WHERE id = {}",
    "write": "UPDATE app.big SET id = id WHERE id = {}",
    "read_elsewhere": "SELECT id FROM public.elsewhere WHERE id = {}",
    "write_elsewhere": "UPDATE public.elsewhere SET id = id WHERE id = {}",
}


async def ask(connection: Any, statement: str, done: asyncio.Event) -> tuple[float, int]:
    """The longest time in seconds, and the number of answers."""
    longest, answers = 0.0, 0
    while not done.is_set():
        started = time.perf_counter()
        await connection.execute(statement.format(answers % _ROWS + 1))
        longest = max(longest, time.perf_counter() - started)
        answers += 1
        await asyncio.sleep(_PAUSE_S)
    return longest, answers


async def main(dsn: str) -> None:
    connections = [await asyncpg.connect(dsn) for _ in _STATEMENTS]
    await connections[0].execute(
        "CREATE TABLE IF NOT EXISTS public.elsewhere (id int PRIMARY KEY);"
        f"INSERT INTO public.elsewhere SELECT generate_series(1, {_ROWS}) ON CONFLICT DO NOTHING"
    )
    done = asyncio.Event()
    asking = [
        asyncio.create_task(ask(one, text, done)) for one, text in zip(connections, _STATEMENTS.values(), strict=True)
    ]
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    done.set()
    found = dict(zip(_STATEMENTS, await asyncio.gather(*asking), strict=True))
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
