"""The pages are registered with the first request for one."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from pgdbm_service.asgi import create_app
from pgdbm_service.settings import Settings

from ..conftest import APP
from .people import OPENS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# What a replica without visitors does not load.
_FOR_PAGES = {"jinja2", "pgdbm_service.dashboard.pages", "pgdbm_service.dashboard.routes", "pygments.lexers.sql"}


@pytest.fixture
def app(tmp_path: Path) -> Any:
    """A service that has not started: neither its sign-in page nor an error needs the database."""
    return create_app(Settings(database_url="postgresql://localhost/none", migrations_repo=tmp_path, auth="token"))


def pages_of(app: Any) -> set[str]:
    return {route.path for route in app.routes if route.path.startswith("/ui")}


def answers(app: Any, *requests: tuple[str, str]) -> list[httpx2.Response]:
    """The answers to ``requests``, each a method and a path, that are sent together."""

    async def send() -> list[httpx2.Response]:
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers=OPENS) as client:
            return await asyncio.gather(*(client.request(method, path) for method, path in requests))

    return asyncio.run(send())


@pytest.mark.parametrize(
    ("method", "path", "status", "headers"),
    [
        ("GET", "/ui/sign-in", 200, {"content-type": "text/html; charset=utf-8"}),
        ("HEAD", "/ui/sign-in", 200, {"content-type": "text/html; charset=utf-8"}),
        ("OPTIONS", "/ui/sign-in", 204, {"allow": "GET, HEAD, OPTIONS, POST"}),
        ("DELETE", "/ui/sign-in", 405, {"allow": "GET, HEAD, OPTIONS, POST"}),
        ("GET", "http://localhost//ui//sign-in/", 200, {"content-type": "text/html; charset=utf-8"}),
        ("GET", "/ui", 303, {"location": "/ui/sign-in"}),
        ("GET", "/ui/nothing", 303, {"location": "/ui/sign-in?next=%2Fui%2Fnothing"}),
        ("GET", "/ui/assets/nothing.css", 404, {"content-type": "application/problem+json"}),
    ],
)
def test_the_first_request_is_answered_as_later_ones_are(
    app: Any, method: str, path: str, status: int, headers: dict[str, str]
) -> None:
    assert not pages_of(app)
    first, later = (answers(app, (method, path))[0] for _ in range(2))
    assert "/ui/tokens" in pages_of(app)
    for answer in first, later:
        assert answer.status_code == status
        assert headers.items() <= answer.headers.items()
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-request-id"]
    assert first.text == later.text


def test_simultaneous_first_requests_register_them_once(app: Any) -> None:
    got = answers(app, *[("GET", "/ui/sign-in")] * 5, ("GET", "/"), ("GET", "/ui/runs"))
    assert [answer.status_code for answer in got] == [200] * 5 + [302, 303]


def test_other_requests_do_not_register_them(app: Any) -> None:
    got = answers(app, ("GET", "/health/live"), ("GET", "/errors"), ("GET", "/docs"), ("GET", "/modules/ui"))
    assert [answer.status_code for answer in got] == [200, 200, 200, 401]
    assert not pages_of(app)


def test_they_are_registered_later_if_it_failed_once(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("too many open files")

    with monkeypatch.context() as patched:
        patched.setattr("pgdbm_service.dashboard.rendering.environment", fail)
        with pytest.raises(OSError, match="too many open files"):
            answers(app, ("GET", "/ui/sign-in"))
    assert answers(app, ("GET", "/ui/sign-in"))[0].status_code == 200


def test_the_route_is_in_the_metrics(start: Callable[..., Any]) -> None:
    service = start()
    assert service.get("/ui/runs", headers=OPENS).status_code == 200
    assert 'route="/ui/runs"' in service.get("/metrics").text


def test_a_service_without_visitors_does_not_load_them(tmp_path: Path) -> None:
    probe = (
        "import sys\nfrom pathlib import Path\nfrom pgdbm_service.asgi import create_app\n"
        "from pgdbm_service.settings import Settings\n"
        "create_app(Settings(database_url='postgresql://localhost/none', migrations_repo=Path.cwd()))\n"
        f"sys.exit(str(sorted({_FOR_PAGES!r} & set(sys.modules))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe],
        cwd=tmp_path,
        env={"PYTHONPATH": str(APP)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.splitlines()[-1] == "[]"
