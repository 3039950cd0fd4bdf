"""The real service on a real port, over a real database; and a network between the two that can fail."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import os
import select
import socket
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx
import pytest
import structlog
import uvicorn

from pgdbm import AsyncDatabaseManager
from pgdbm_service.asgi import create_app
from pgdbm_service.auth.tokens import create_token
from pgdbm_service.own_schema import OWN_SCHEMA, prepare_own_schema
from pgdbm_service.queue_tables import prepare_queue
from pgdbm_service.settings import Settings

from ..conftest import run_on, with_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PATIENCE_S = 30
APP = Path(__file__).resolve().parents[2] / "app"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In CI a test of the service has one more try, which the summary tells: it waits for processes, within bounds."""
    if not os.environ.get("CI"):
        return
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.flaky(reruns=1))


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


class Watch:
    """What the services of this session answered and logged, and secrets that must be nowhere in it."""

    def __init__(self) -> None:
        self._seen: list[tuple[str, str]] = []
        self._secrets: dict[str, str] = {}

    def plant(self, what: str, secret: str) -> None:
        # A short one would be found where it only looks alike.
        if len(secret) >= 12:
            self._secrets[secret] = what

    def see(self, where: str, text: str) -> None:
        self._seen.append((where, text))

    def see_answer(self, response: httpx.Response) -> None:
        """For httpx to call. A new token is shown in the answer that makes it, and only there."""
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            return
        request = response.request
        text = response.read().decode("utf-8", "replace")
        if (request.method, request.url.path, response.status_code) == ("POST", "/tokens", 201):
            made = response.json()["token"]
            self.plant("a token", made)
            text = text.replace(made, "")
        if not request.url.path.startswith("/static/"):
            self.see(f"{request.method} {request.url.path}", f"{response.headers.raw!r}\n{text}")

    def leaks(self) -> list[str]:
        """Where which secret was."""
        return [
            f"{what} in {where}: {text[:2000]}"
            for where, text in self._seen
            for secret, what in self._secrets.items()
            if secret in text
        ]

    def logged(self) -> str:
        return "\n".join(text for where, text in self._seen if where == "log")


class _LogWatch(logging.Handler):
    """Sees each line as it is written. The tests' own HTTP client logs here too, and is passed over."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    def emit(self, record: logging.LogRecord) -> None:
        if not record.name.startswith("httpx"):
            for handler in logging.getLogger().handlers:
                if isinstance(handler.formatter, structlog.stdlib.ProcessorFormatter):
                    self._watch.see("log", handler.format(copy.copy(record)))


@pytest.fixture(scope="session")
def watch() -> Iterator[Watch]:
    """Fails at the end of the session if a planted secret was anywhere."""
    watch = Watch()
    handler = _LogWatch(watch)
    logging.getLogger().addHandler(handler)
    yield watch
    logging.getLogger().removeHandler(handler)
    assert watch.leaks() == []


@pytest.fixture(scope="session")
def prepared(postgres_dsn: str) -> Iterator[str]:
    """The name of a database that has the service's own tables: most tests need not wait for them to be made."""
    name = f"service_{uuid.uuid4().hex[:16]}"

    async def make() -> None:
        await run_on(postgres_dsn, f'CREATE DATABASE "{name}" TEMPLATE template0')
        pool = await asyncpg.create_pool(with_database(postgres_dsn, name), min_size=1, max_size=2)
        try:
            await prepare_own_schema(pool)
            await prepare_queue(pool)
        finally:
            await pool.close()

    asyncio.run(make())
    yield name
    asyncio.run(run_on(postgres_dsn, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))


@pytest.fixture
def database(postgres_dsn: str, prepared: str) -> Iterator[str]:
    """The DSN of a fresh database that a service has been on, dropped at the end."""
    name = f"test_{uuid.uuid4().hex[:16]}"
    asyncio.run(run_on(postgres_dsn, f'CREATE DATABASE "{name}" TEMPLATE "{prepared}"'))
    yield with_database(postgres_dsn, name)
    asyncio.run(run_on(postgres_dsn, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))


@pytest.fixture
def make_token(database: str, watch: Watch) -> Callable[..., str]:
    """``make_token(*scopes, name=…, expires=…)``: a token, made in the database without a service."""

    async def make(scopes: Sequence[str], name: str, expires: str) -> str:
        pool = await asyncpg.create_pool(database, min_size=1, max_size=2)
        try:
            await prepare_own_schema(pool)
            made = await create_token(AsyncDatabaseManager(pool=pool, schema=OWN_SCHEMA), name, scopes, expires, "test")
        finally:
            await pool.close()
        watch.plant("a token", made.token)
        return made.token

    def run(*scopes: str, name: str | None = None, expires: str = "1h") -> str:
        return asyncio.run(make(scopes, name or uuid.uuid4().hex, expires))

    return run


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


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
def start(repo: Repo, database: str, watch: Watch) -> Iterator[Callable[..., RunningService]]:
    """``start(**settings)``: the service on a free port, in a thread of this process."""
    watch.plant("the password of the database", urlsplit(database).password or "")
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
            hooks = {"response": [watch.see_answer]}
            client = stack.enter_context(httpx.Client(base_url=url, timeout=PATIENCE_S, event_hooks=hooks))
            service = RunningService(url, client)
            eventually(lambda: server.started)
            if wait:
                eventually(service.ready)
            return service

        yield run


class Proxy:
    """A TCP proxy, most often to the database: it can be cut, and it can go silent."""

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

    def restore(self, target: tuple[str, int] | None = None) -> None:
        """Accept connections again, and lead them to ``target``, if that is another."""
        with self._lock:
            self._target = target or self._target
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
def launch(tmp_path: Path, repo: Repo, watch: Watch) -> Iterator[Callable[..., Process]]:
    """``launch(*arguments, **variables)``: a Python process with these environment variables."""
    started: list[subprocess.Popen[bytes]] = []
    folders: list[Path] = []

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
        folders.append(folder)
        watch.plant("the password of the database", urlsplit(variables.get("DATABASE_URL", "")).password or "")
        return Process(popen, folder)

    yield run
    for popen, folder in zip(started, folders, strict=True):
        if popen.poll() is None:
            popen.kill()
        popen.wait(PATIENCE_S)
        if not any("token" in str(argument) for argument in popen.args):  # type: ignore[union-attr]
            # Which is where a new token is printed.
            watch.see("output", (folder / "out").read_text(errors="replace"))
        watch.see("output", (folder / "err").read_text(errors="replace"))
