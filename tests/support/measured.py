"""What a run with coverage measures.

Tracing doubles the time of all Python code in a thread, also of code that is not measured, and a line that has run
before says nothing new. So it is limited to what reaches lines of pgdbm that nothing else reaches. Without coverage
nothing here has an effect.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

import pgdbm
import pgdbm_service

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

# Tests that call pgdbm in their own thread.
CALLERS = ("unit", "golden", "integration", "service/client", "service/commands")
# Tests that start a service in another thread of their process.
SERVICES = ("integration", "service")
# Tests that are about commands and processes.
PROCESSES = ("integration/cli", "service/process")
# Read by each Python that starts, see ``patch`` in pyproject.toml.
_VARIABLE = "COVERAGE_PROCESS_CONFIG"


@contextmanager
def thread_unmeasured() -> Iterator[None]:
    """Do not measure this thread."""
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(tracer)


@contextmanager
def new_threads_unmeasured() -> Iterator[None]:
    """Do not measure the threads that are started inside the block."""
    tracer = threading.gettrace()
    threading.settrace(None)  # type: ignore[arg-type]
    try:
        yield
    finally:
        threading.settrace(tracer)  # type: ignore[arg-type]


@contextmanager
def new_processes_unmeasured() -> Iterator[None]:
    """Do not measure the processes that are started inside the block."""
    config = os.environ.pop(_VARIABLE, None)
    try:
        yield
    finally:
        if config is not None:
            os.environ[_VARIABLE] = config


@contextmanager
def only_imports_measured() -> Iterator[None]:
    """Of the collection of the tests, measure only that the modules of pgdbm are imported."""
    if sys.gettrace() is not None:
        for package in (pgdbm, pgdbm_service):
            for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
                if not module.name.endswith("__main__"):
                    importlib.import_module(module.name)
    with thread_unmeasured():
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    folder = item.nodeid.removeprefix("tests/")
    with ExitStack() as unmeasured:
        if not folder.startswith(SERVICES):
            unmeasured.enter_context(new_threads_unmeasured())
        if not folder.startswith(PROCESSES):
            unmeasured.enter_context(new_processes_unmeasured())
        if not folder.startswith(CALLERS):
            unmeasured.enter_context(thread_unmeasured())
        return (yield)
