"""Pages while the database is away."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.support.waiting import eventually

from .people import OPENS, text_of
from .test_pages import TABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Lines = Callable[[str], list[str]]


@pytest.fixture
def service(start: Callable[..., Any], repo: Any, proxied: str) -> Any:
    repo.write("m", _001_a=TABLE)
    return start(database_url=proxied, stream_keep_alive_s=0.5)


@pytest.fixture
def lines(service: Any) -> Iterator[Lines]:
    """``lines(path)``: the lines that a stream has sent so far, and ``ended`` as the last one if it has ended."""
    threads: list[threading.Thread] = []
    over = threading.Event()

    def begin(path: str) -> list[str]:
        found: list[str] = []

        def follow() -> None:
            with httpx2.stream("GET", f"{service.url}{path}", timeout=60) as answer:
                try:
                    for line in answer.iter_lines():
                        if over.is_set():
                            return
                        found.append(line)
                except httpx2.HTTPError as error:
                    found.append(repr(error))
                found.append("ended")

        threads.append(threading.Thread(target=follow))
        threads[-1].start()
        return found

    yield begin
    over.set()
    for thread in threads:
        thread.join(60)


def test_a_page_says_so_and_offers_to_try_again(service: Any, proxy: Any) -> None:
    proxy.cut()
    for path in ("/ui?sort=state", "/ui/modules/m?tab=plan&schema=m", "/ui/database"):
        answer = service.get(path, headers=OPENS)
        assert answer.status_code == 503, path
        assert "The database cannot be reached. The service keeps trying to connect." in text_of(answer)
        assert f'href="{path.replace("&", "&amp;")}">Try again</a>' in answer.text
    proxy.restore()
    eventually(lambda: service.get("/ui?sort=state", headers=OPENS).status_code == 200)


@pytest.mark.parametrize("path", ["/ui/live", "/ui/modules/m/live?tab=plan"])
def test_an_open_page_shows_that_it_is_stale_and_follows_again(
    service: Any, proxy: Any, lines: Lines, path: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its stream stays open: pages that connect again and again would keep a service busy that can show nothing."""
    sent = lines(path)
    eventually(lambda: any("pending" in line for line in sent))
    capfd.readouterr()
    proxy.cut()
    eventually(lambda: sent.count("event: page:stale") >= 2)
    assert "ended" not in sent
    # It is logged once, however often it is tried.
    assert capfd.readouterr().err.count('"event":"database unavailable"') <= 1
    proxy.restore()
    eventually(lambda: "event: page:fresh" in sent)
    assert service.post("/modules/m/migrate").status_code == 200
    eventually(lambda: any("up to date" in line for line in sent))
    assert "ended" not in sent
