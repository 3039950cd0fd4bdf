"""Whatever thread asks, only a few threads call libpg_query, and these have large stacks."""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import threading

import pytest

from pgdbm.pgparse.parse import parse_statements, split
from pgdbm.pgparse.threads import MAX_PARSER_THREADS, parse_ahead

SHORT = "SELECT 1"
LONG = "SELECT 1; " * 2_000


def free_keys() -> int:
    """How many keys for thread-local storage the process can still create."""
    libc = ctypes.CDLL(None)
    keys = []
    key = ctypes.c_uint()
    while libc.pthread_key_create(ctypes.byref(key), None) == 0:
        keys.append(key.value)
    for one in keys:
        libc.pthread_key_delete(one)
    return len(keys)


def in_thread(function: object, *args: object) -> None:
    thread = threading.Thread(target=function, args=args)  # type: ignore[arg-type]
    thread.start()
    thread.join()


@pytest.mark.skipif(sys.platform != "linux", reason="counts the keys with glibc's functions")
@pytest.mark.parametrize("sql", [SHORT, LONG], ids=["short", "long"])
@pytest.mark.parametrize("function", [parse_statements, split])
def test_threads_that_parse_leave_nothing_behind(function: object, sql: str) -> None:
    in_thread(function, sql)
    before = free_keys()
    for _ in range(3 * MAX_PARSER_THREADS):
        in_thread(function, sql)
    assert before - free_keys() <= MAX_PARSER_THREADS


@pytest.mark.skipif(sys.platform != "linux", reason="counts the keys with glibc's functions")
def test_event_loops_that_parse_leave_nothing_behind() -> None:
    async def parse() -> None:
        await asyncio.gather(*(asyncio.to_thread(parse_statements, SHORT) for _ in range(3)))

    asyncio.run(parse())
    before = free_keys()
    for _ in range(3 * MAX_PARSER_THREADS):
        asyncio.run(parse())
    assert before - free_keys() <= MAX_PARSER_THREADS


def test_more_threads_than_parsers_parse_long_texts() -> None:
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(len(parse_statements(LONG))))
        for _ in range(4 * MAX_PARSER_THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [2_000] * len(threads)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_starts_threads_of_its_own() -> None:
    assert len(parse_ahead(lambda: parse_statements(SHORT)).result()) == 1
    child = os.fork()
    if child == 0:
        ahead = parse_ahead(lambda: parse_statements(LONG))
        os._exit(0 if len(parse_statements(LONG)) == len(ahead.result()) == 2_000 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
