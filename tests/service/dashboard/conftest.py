"""A real browser, where there is one."""

from __future__ import annotations

import contextlib
import os
import subprocess
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[3]
_ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
)
# Longer than any time limit of Playwright's own. Scripts in a page have none.
_CALL_LIMIT_S = 90
_CLOSE_LIMIT_S = 10


class BrowserThread:
    """Where every call of Playwright is made.

    Its synchronous API keeps an event loop running in the thread that uses it, where no fixture could run another.
    A call that does not return within ``_CALL_LIMIT_S`` seconds ends the browser, and fails.
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1)
        self._processes = set(psutil.Process().children())

    def call(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        future = self._executor.submit(method, *arguments, **options)
        try:
            value = future.result(timeout=_CALL_LIMIT_S)
        except TimeoutError:
            if future.done():
                raise
            self._kill_browser(future)
            raise AssertionError(f"the browser did not answer within {_CALL_LIMIT_S} s, and was ended") from None
        return InThread(self, value) if _is_playwright(value) else value

    def close_context(self, context: InThread) -> None:
        """Close ``context``. Chromium may never confirm that, if its pages are being left: it is ended then."""
        future = self._executor.submit(context.target.close)
        if wait([future], timeout=_CLOSE_LIMIT_S).done:
            future.result()
        else:
            self._kill_browser(future)

    def _kill_browser(self, call: Future[Any]) -> None:
        """Ends the browser, and Playwright's driver, its parent, if ``call`` does not return even then."""
        drivers = set(psutil.Process().children()) - self._processes
        drivers = {one for one in drivers if "playwright" in " ".join(one.cmdline())}
        _kill(*(process for driver in drivers for process in driver.children(recursive=True)))
        if not wait([call], timeout=10).done:
            _kill(*drivers)

    def close(self) -> None:
        self._executor.shutdown()


class InThread:
    """A Playwright object whose calls are made in the browser's thread."""

    def __init__(self, thread: BrowserThread, target: Any) -> None:
        self._thread = thread
        self.target = target

    def __getattr__(self, name: str) -> Any:
        value = self._thread.call(getattr, self.target, name)
        if isinstance(value, InThread) or not callable(value):
            return value
        return lambda *arguments, **options: self._thread.call(value, *arguments, **options)


def _kill(*processes: psutil.Process) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _is_playwright(value: Any) -> bool:
    return type(value).__module__.startswith("playwright.")


class Browser:
    """Chromium, started again if it was ended."""

    def __init__(self, thread: BrowserThread, playwright: InThread, program: str) -> None:
        self._thread = thread
        self._playwright = playwright
        self._program = program
        self._running: Any = None

    @contextlib.contextmanager
    def context(self, **options: Any) -> Iterator[Any]:
        """A session of its own, with no cookies. ``options`` are those of Playwright's ``new_context``."""
        if self._running is None or not self._running.is_connected():
            self._running = self._playwright.chromium.launch(executable_path=self._program, args=list(_ARGUMENTS))
        context = self._running.new_context(**options)
        try:
            yield context
        finally:
            if self._running.is_connected():
                self._thread.close_context(context)

    def close(self) -> None:
        if self._running is not None and self._running.is_connected():
            self._running.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api")
    found = subprocess.run([ROOT / ".ci" / "chromium"], capture_output=True, text=True, check=False)
    if found.returncode != 0:
        pytest.skip(found.stderr.strip())
    thread = BrowserThread()
    running = thread.call(playwright.sync_playwright().start)
    chromium = Browser(thread, running, found.stdout.strip())
    yield chromium
    chromium.close()
    running.stop()
    thread.close()


@pytest.fixture
def visit(browser: Browser, service: Any) -> Iterator[Callable[..., Any]]:
    """Opens pages of the service. Fails at the end if one logged an error or sent a request to another host.

    ``may_fail``: an answer that is an error, which the browser logs, is part of the test.
    """
    errors: list[str] = []
    with contextlib.ExitStack() as contexts:

        def open_page(path: str, *, may_fail: bool = False, url: str = service.url, **options: Any) -> Any:
            settings = {"viewport": {"width": 1280, "height": 800}, "base_url": url} | options
            page = contexts.enter_context(browser.context(**settings)).new_page()
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


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """The folder for screenshots: PGDBM_PICTURES, or one of the test's own."""
    folder = Path(os.environ.get("PGDBM_PICTURES") or tmp_path / "pictures")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
