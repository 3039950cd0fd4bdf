"""The threads that call libpg_query. There are few of them; they live as long as the process and have large stacks.

libpg_query creates a key for thread-local storage in each thread that calls it, and never deletes one. A process has
1,024 of them. Once none is left, other libraries fail: libpq, for one, can no longer log in with a password.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from .limits import SAFE_CHARACTERS, STACK_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

_T = TypeVar("_T")
_P = ParamSpec("_P")

MAX_PARSER_THREADS = 4
"""For texts that are parsed on demand; one more thread parses ahead."""

_local = threading.local()
_lock = threading.Lock()
_executors: dict[str, ThreadPoolExecutor] = {}


def call_parser(function: Callable[[str], _T], sql: str) -> _T:
    """``function(sql)``, in a thread that may call libpg_query and whose stack is large enough for ``sql``."""
    if getattr(_local, "parses", False):
        return function(sql)
    if len(sql) <= SAFE_CHARACTERS and threading.current_thread() is threading.main_thread():
        return function(sql)
    return _submit("parser", MAX_PARSER_THREADS, function, sql).result()


def parse_ahead(function: Callable[[], _T]) -> Future[_T]:
    """Call ``function``, which parses, in the one thread that parses ahead: two would wait for each other.

    It must not wait for another such function.
    """
    return _submit("parse-ahead", 1, function)


def _submit(name: str, threads: int, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
    with _lock:
        # The stack size is a process-wide setting: other threads that start now get the same size, which costs nothing.
        before = threading.stack_size(STACK_BYTES)
        try:
            if name not in _executors:
                _executors[name] = ThreadPoolExecutor(
                    min(threads, os.cpu_count() or 1), f"pgdbm-{name}", lambda: setattr(_local, "parses", True)
                )
            return _executors[name].submit(function, *args, **kwargs)
        finally:
            threading.stack_size(before)


def _forget_threads() -> None:
    """A forked process has none of the threads, but perhaps a lock that one of them held."""
    global _lock
    _lock = threading.Lock()
    _executors.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)
