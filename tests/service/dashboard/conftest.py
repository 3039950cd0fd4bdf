"""A real browser, where there is one."""

from __future__ import annotations

import contextlib
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[3]
_ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)


class InThread:
    """A playwright object whose calls are made in the browser's thread.

    Its synchronous API keeps an event loop running in the thread that uses it, where no fixture could run another.
    """

    def __init__(self, thread: ThreadPoolExecutor, target: Any) -> None:
        self._thread = thread
        self._target = target

    def __getattr__(self, name: str) -> Any:
        value = self._thread.submit(getattr, self._target, name).result()
        return self._call(value) if callable(value) and not _is_playwright(value) else self._wrapped(value)

    def _call(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            return self._wrapped(self._thread.submit(method, *arguments, **options).result())

        return call

    def _wrapped(self, value: Any) -> Any:
        return InThread(self._thread, value) if _is_playwright(value) else value


def _is_playwright(value: Any) -> bool:
    return type(value).__module__.startswith("playwright.")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    found = subprocess.run([ROOT / ".ci" / "chromium"], capture_output=True, text=True, check=False)
    if found.returncode != 0:
        pytest.skip(found.stderr.strip())
    with ThreadPoolExecutor(max_workers=1) as thread:
        running = thread.submit(playwright.sync_playwright().start).result()
        chromium = InThread(thread, running).chromium.launch(
            executable_path=found.stdout.strip(), args=list(_ARGUMENTS)
        )
        yield chromium
        chromium.close()
        thread.submit(running.stop).result()


@pytest.fixture
def visit(browser: Any, service: Any) -> Iterator[Callable[..., Any]]:
    """Opens pages of the service. Fails at the end if one logged an error or sent a request to another host.

    ``may_fail``: an answer that is an error, which the browser logs, is part of the test.
    """
    errors: list[str] = []
    with contextlib.ExitStack() as contexts:

        def open_page(path: str, *, may_fail: bool = False, url: str = service.url, **options: Any) -> Any:
            settings = {"viewport": {"width": 1280, "height": 800}, "base_url": url} | options
            context = browser.new_context(**settings)
            contexts.callback(context.close)
            page = context.new_page()
            page.on(
                "console",
                lambda message: errors.append(message.text) if message.type == "error" and not may_fail else None,
            )
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on(
                "request",
                lambda request: (
                    errors.append(request.url) if urlsplit(request.url).netloc != urlsplit(url).netloc else None
                ),
            )
            page.goto(path)
            return page

        yield open_page
    assert errors == []


class Clicks:
    """Clicks, and counts them."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, target: Any) -> None:
        target.click()
        self.count += 1


@pytest.fixture
def click() -> Clicks:
    return Clicks()


@contextlib.contextmanager
def holding(database: str, statement: str, application_name: str) -> Iterator[int]:
    """A session, given by its process id, that is idle in a transaction after ``statement``."""
    session = psycopg.connect(database, application_name=application_name)
    try:
        session.execute(statement.encode())
        yield session.info.backend_pid
    finally:
        session.close()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """The folder for screenshots: PGDBM_PICTURES, or one of the test's own."""
    folder = Path(os.environ.get("PGDBM_PICTURES") or tmp_path / "pictures")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
