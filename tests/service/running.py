"""A service in a thread of this process, and one that goes on from test to test."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import uvicorn

from pgdbm_service.asgi import create_app
from pgdbm_service.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .conftest import Watch
    from .direct import Direct

PATIENCE_S = 30
# For clients of http://: the one that httpx makes reads the certificates of all authorities, for each client, and each
# call of httpx.get() and the like makes one.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
http_get = partial(httpx.get, verify=NO_TLS)
http_post = partial(httpx.post, verify=NO_TLS)
http_stream = partial(httpx.stream, verify=NO_TLS)


def eventually(condition: Callable[[], Any]) -> Any:
    """The first true value of ``condition``; fails if there is none for a long time."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError("it did not happen")


@dataclass
class Repo:
    """A migrations repository in a folder of the test's."""

    path: Path

    def write(self, module: str, toml: str | None = None, **files: str | bytes) -> None:
        """Add files to ``module``; ``_001_a`` as a keyword is the file ``001_a.sql``."""
        folder = self.path / module
        folder.mkdir(parents=True, exist_ok=True)
        if toml is not None:
            (folder / "module.toml").write_text(toml)
        for name, content in files.items():
            raw = content if isinstance(content, bytes) else content.encode()
            (folder / f"{name.lstrip('_')}.sql").write_bytes(raw)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@dataclass
class RunningService:
    """``headers``: those of somebody who may do everything."""

    url: str
    client: httpx.Client
    headers: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.client.get(path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.client.post(path, **options)

    def ready(self) -> bool:
        return self.get("/health/ready").status_code == 200

    def sync(self) -> None:
        """Have it read its repository now, as at a start."""
        assert self.post("/repo/sync", headers=self.headers).status_code == 200


@contextlib.contextmanager
def serving(
    watch: Watch, *, wait: bool = True, tracer_provider: Any = None, **settings: Any
) -> Iterator[RunningService]:
    """The service on a free port, in a thread of this process."""
    watch.plant("the password of the database", urlsplit(settings["database_url"]).password or "")
    app = create_app(Settings(**{"log_level": "warning"} | settings), tracer_provider)
    config = uvicorn.Config(app, access_log=False, lifespan="on", log_config=None, proxy_headers=False)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            hooks = {"response": [watch.see_answer]}
            with httpx.Client(base_url=url, timeout=PATIENCE_S, event_hooks=hooks, verify=NO_TLS) as client:
                service = RunningService(url, client)
                eventually(lambda: server.started)
                if wait:
                    eventually(service.ready)
                yield service
        finally:
            server.should_exit = True
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


@dataclass
class Standing:
    """A service that goes on from test to test, with what is its own."""

    service: RunningService
    direct: Direct
    repo: Repo

    def empty(self) -> None:
        """Make it as if it had just been started, in front of an empty database and an empty repository."""
        for entry in list(self.repo.path.iterdir()):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        if self.direct.empty():
            # It looks for what it does not know, and sees what there is.
            assert self.service.get("/modules/-", headers=self.service.headers).status_code == 404
        # Also where nothing is left: the test may have removed it itself.
        self.service.sync()
