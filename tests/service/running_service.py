"""A service in a thread of this process, and one that is shared by tests."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx2
import uvicorn

from pgdbm_service.asgi import create_app
from pgdbm_service.settings import Settings
from pgdbm_service.web.server_protocol import protocol
from tests.support.waiting import eventually

from .signatures import share_signatures

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .conftest import Watch
    from .service_database import Direct

share_signatures()

DEADLINE_S = 30
# For the setting public_origin: the address of the service, which is known once it runs.
OWN_ORIGIN = "http://its-own.example"
# For clients of http://: the one that httpx2 makes reads the certificates of all authorities, for each client, and each
# call of httpx2.get() and the like makes one.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
http_get = partial(httpx2.get, verify=NO_TLS)
http_post = partial(httpx2.post, verify=NO_TLS)
http_stream = partial(httpx2.stream, verify=NO_TLS)


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
            path = folder / f"{name.lstrip('_')}.sql"
            path.write_bytes(raw)
            # As if written a while ago: the service waits for files that are still being written.
            os.utime(path, (time.time() - 60,) * 2)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@dataclass
class RunningService:
    """``headers``: with a token that has every scope."""

    url: str
    client: httpx2.Client
    headers: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, **options: Any) -> httpx2.Response:
        return self.client.get(path, **options)

    def post(self, path: str, **options: Any) -> httpx2.Response:
        return self.client.post(path, **options)

    def ready(self) -> bool:
        return self.get("/health/ready").status_code == 200

    def sync(self) -> None:
        """Make it read its repository now, as at a start."""
        assert self.post("/repo/sync", headers=self.headers).status_code == 200


@contextlib.contextmanager
def serving(
    watch: Watch, *, wait: bool = True, tracer_provider: Any = None, **settings: Any
) -> Iterator[RunningService]:
    """The service on a free port, in a thread of this process."""
    watch.plant("the password of the database", urlsplit(settings["database_url"]).password or "")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        if settings.get("public_origin") == OWN_ORIGIN:
            settings["public_origin"] = url
        app = create_app(Settings(**{"log_level": "warning"} | settings), tracer_provider)
        config = uvicorn.Config(
            app,
            access_log=False,
            http=protocol(settings.get("request_timeout_s", 60.0)),
            lifespan="on",
            log_config=None,
            proxy_headers=False,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            hooks = {"response": [watch.see_answer]}
            with httpx2.Client(base_url=url, timeout=DEADLINE_S, event_hooks=hooks, verify=NO_TLS) as client:
                service = RunningService(url, client)
                eventually(lambda: server.started)
                if wait:
                    eventually(service.ready)
                yield service
        finally:
            server.should_exit = True
            thread.join(DEADLINE_S)
            assert not thread.is_alive()


@dataclass
class SharedService:
    """A service that tests share, with its database and repository."""

    service: RunningService
    direct: Direct
    repo: Repo

    def empty(self) -> None:
        """Reset it to the state after a start with an empty database and an empty repository."""
        for entry in list(self.repo.path.iterdir()):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        if self.direct.empty():
            # A lookup of an unknown module makes it read the registry.
            assert self.service.get("/modules/-", headers=self.service.headers).status_code == 404
        # Even if nothing is left: the test may have removed the modules itself.
        self.service.sync()
