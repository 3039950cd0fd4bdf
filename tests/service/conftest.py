"""The real service on a real port, over a real database; and a network between the two that can fail."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx
import pytest
import uvicorn

from pgdbm_service.asgi import create_app
from pgdbm_service.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE_S = 30
APP = Path(__file__).resolve().parents[2] / "app"


def eventually(condition: Callable[[], Any]) -> Any:
    """The first true value of ``condition``; fails if there is none for a long time."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError("it did not happen")


@pytest.fixture(name="eventually")
def eventually_fixture() -> Callable[[Callable[[], Any]], Any]:
    return eventually


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


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    path = tmp_path / "repo"
    path.mkdir()
    return Repo(path)


@pytest.fixture
def sql(database: str) -> Callable[..., list[Any]]:
    """``sql(query, *args)``: the rows, over a connection of its own."""

    async def fetch(query: str, *args: Any) -> list[Any]:
        connection = await asyncpg.connect(database)
        try:
            return list(await connection.fetch(query, *args))
        finally:
            await connection.close()

    return lambda query, *args: asyncio.run(fetch(query, *args))


@dataclass
class RunningService:
    url: str
    client: httpx.Client

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.client.get(path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.client.post(path, **options)

    def ready(self) -> bool:
        return self.get("/health/ready").status_code == 200


Start = "Callable[..., RunningService]"


@pytest.fixture
def start(repo: Repo, database: str) -> Iterator[Callable[..., RunningService]]:
    """``start(**settings)``: the service on a free port, in a thread of this process."""
    with contextlib.ExitStack() as stack:

        def run(*, wait: bool = True, tracer_provider: Any = None, **settings: Any) -> RunningService:
            settings = {"database_url": database, "migrations_repo": repo.path, "log_level": "warning"} | settings
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            app = create_app(Settings(**settings), tracer_provider)
            server = uvicorn.Server(uvicorn.Config(app, access_log=False, lifespan="on", log_config=None))
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
            thread.start()

            def stop() -> None:
                server.should_exit = True
                thread.join(PATIENCE_S)
                assert not thread.is_alive()

            stack.callback(stop)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            client = stack.enter_context(httpx.Client(base_url=url, timeout=PATIENCE_S))
            service = RunningService(url, client)
            eventually(lambda: server.started)
            if wait:
                eventually(service.ready)
            return service

        yield run


class Proxy:
    """A TCP proxy to the database: it can be cut, and it can go silent."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener: socket.socket | None = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._silent = threading.Event()
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._forward)
        self._thread.start()

    def cut(self) -> None:
        """Refuse new connections, and end those that there are."""
        with self._lock:
            assert self._listener is not None
            self._listener.close()
            self._listener = None
            for pair in self._pairs:
                for end in pair:
                    end.close()
            self._pairs.clear()

    def restore(self) -> None:
        with self._lock:
            self._listener = socket.create_server(("127.0.0.1", self.port))

    def silence(self) -> None:
        """Accept connections and bytes, and pass nothing on."""
        self._silent.set()

    def speak(self) -> None:
        self._silent.clear()

    def close(self) -> None:
        self._closed = True
        self._thread.join(PATIENCE_S)
        for pair in self._pairs:
            for end in pair:
                end.close()
        if self._listener is not None:
            self._listener.close()

    def _forward(self) -> None:
        while not self._closed:
            if self._silent.is_set():
                time.sleep(0.01)
                continue
            with self._lock:
                self._turn()
            time.sleep(0.001)

    def _turn(self) -> None:
        other = {end: pair[1 - side] for pair in self._pairs for side, end in enumerate(pair)}
        listening = [self._listener] if self._listener is not None else []
        readable, _, _ = select.select([*listening, *other], [], [], 0)
        for end in readable:
            if end is self._listener:
                accepted, _ = self._listener.accept()
                self._pairs.append((accepted, socket.create_connection(self._target)))
                continue
            try:
                data = end.recv(65536)
                if data:
                    other[end].sendall(data)
            except OSError:
                data = b""
            if not data:
                pair = next((pair for pair in self._pairs if end in pair), None)
                if pair is not None:
                    self._pairs.remove(pair)
                    for one in pair:
                        one.close()


@pytest.fixture
def proxy(database: str) -> Iterator[Proxy]:
    parts = urlsplit(database)
    proxy = Proxy(parts.hostname or "127.0.0.1", parts.port or 5432)
    yield proxy
    proxy.close()


@pytest.fixture
def proxied(database: str, proxy: Proxy) -> str:
    """The DSN of the database through the proxy."""
    parts = urlsplit(database)
    credentials = parts.netloc.rpartition("@")[0]
    return urlunsplit(parts._replace(netloc=f"{credentials}@127.0.0.1:{proxy.port}"))


@dataclass
class Process:
    """``python -m pgdbm_service``, or another command, with what it wrote so far."""

    popen: subprocess.Popen[bytes]
    folder: Path

    @property
    def out(self) -> str:
        return (self.folder / "out").read_text()

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text()

    def wait(self) -> int:
        return self.popen.wait(PATIENCE_S)

    def url(self) -> str:
        """Where it listens, as its banner says."""

        def look() -> str | None:
            assert self.popen.poll() is None, self.err
            _, found, rest = self.out.partition("serves ")
            return rest.split()[0] if found and "Try:" in rest else None

        return str(eventually(look))


@pytest.fixture
def launch(tmp_path: Path, repo: Repo) -> Iterator[Callable[..., Process]]:
    """``launch(*arguments, **variables)``: a Python process with these environment variables."""
    started: list[subprocess.Popen[bytes]] = []

    def run(*arguments: str, cwd: Path | None = None, **variables: str) -> Process:
        folder = tmp_path / f"process{len(started)}"
        folder.mkdir()
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        defaults = {"PYTHONPATH": str(APP), "PGDBM_PORT": "0", "PGDBM_MIGRATIONS_REPO": str(repo.path)}
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            popen = subprocess.Popen(
                [sys.executable, *(arguments or ("-m", "pgdbm_service"))],
                env=inherited | defaults | variables,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=cwd or tmp_path,
            )
        started.append(popen)
        return Process(popen, folder)

    yield run
    for popen in started:
        if popen.poll() is None:
            popen.kill()
        popen.wait(PATIENCE_S)
