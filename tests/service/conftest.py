"""The service on a port of its own, its database, and a network between the two that can fail."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import logging
import os
import re
import select
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg
import pytest
import structlog

import pgdbm_service
from pgdbm_service.database.queue_schema import prepare_queue
from pgdbm_service.database.service_schema import migrate_service_schema
from tests.support.dsn import through
from tests.support.waiting import eventually

from .forked_service import ForkedService
from .running_service import DEADLINE_S, Repo, RunningService, SharedService, bearer, serving
from .service_database import KEPT, Direct

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx2

    from ..conftest import Databases

APP = Path(pgdbm_service.__file__).parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In CI a test of the service is retried once, and the summary shows it: such tests wait for processes."""
    if not os.environ.get("CI"):
        return
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(name="eventually")
def eventually_fixture() -> Callable[[Callable[[], Any]], Any]:
    return eventually


@pytest.fixture(scope="session")
def shared_service_for(
    databases: Databases, prepared: str, watch: Watch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., SharedService]]:
    """``shared_service_for(**settings)``: the shared service with these settings."""
    with contextlib.ExitStack() as stack:
        made: dict[str, SharedService] = {}

        def find(**settings: Any) -> SharedService:
            key = repr(sorted(settings.items()))
            if key not in made:
                direct = Direct(stack.enter_context(databases.fresh(template=prepared)))
                stack.callback(direct.close)
                repo = Repo(tmp_path_factory.mktemp("repo"))
                ours = {"database_url": direct.database, "migrations_repo": repo.path} | settings
                # No background tasks, which could still read what another test has left.
                ours |= {"watch_repo": False, "reconcile_s": 86400, "metrics_sample_s": 3600}
                service = stack.enter_context(serving(watch, **ours))
                if settings.get("auth", "none") != "none":
                    token = direct.make_token("admin", by=KEPT)
                    watch.plant("a token", token)
                    service.headers = bearer(token)
                made[key] = SharedService(service, direct, repo)
            return made[key]

        yield find


@pytest.fixture
def shared_service(request: pytest.FixtureRequest) -> SharedService | None:
    """The shared service, emptied, if the test uses ``service``; ``database`` and ``repo`` are then its own."""
    if "service" not in request.fixturenames:
        return None
    marker = request.node.get_closest_marker("settings")
    shared_service: SharedService = request.getfixturevalue("shared_service_for")(**(marker.kwargs if marker else {}))
    shared_service.empty()
    return shared_service


@pytest.fixture
def service(shared_service: SharedService) -> RunningService:
    """A service that others have used before, for a test that needs none of its own: starting one is expensive.

    It has the settings of the marker ``settings``, and does not watch the repository: see ``RunningService.sync``.
    """
    return shared_service.service


@pytest.fixture
def repo(tmp_path: Path, shared_service: SharedService | None) -> Repo:
    if shared_service is not None:
        return shared_service.repo
    path = tmp_path / "repo"
    path.mkdir()
    return Repo(path)


@pytest.fixture
def direct(database: str, shared_service: SharedService | None) -> Iterator[Direct]:
    """The database of the test, without its service."""
    if shared_service is not None:
        yield shared_service.direct
        return
    direct = Direct(database)
    yield direct
    direct.close()


@pytest.fixture
def sql(direct: Direct) -> Callable[..., list[Any]]:
    """``sql(query, *args)``: the rows."""
    return direct.sql


class Watch:
    """What the services of this session answered and logged, and secrets that must not be in it."""

    def __init__(self) -> None:
        self._seen: list[tuple[str, str]] = []
        self._secrets: dict[str, str] = {}

    def plant(self, what: str, secret: str) -> None:
        # A short one could match by chance.
        if len(secret) >= 12:
            self._secrets[secret] = what

    def see(self, where: str, text: str) -> None:
        self._seen.append((where, text))

    def see_answer(self, response: httpx2.Response) -> None:
        """For httpx2 to call. A new token is shown only in the answer that creates it."""
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            return
        request = response.request
        text = response.read().decode("utf-8", "replace")
        if (request.method, response.status_code) == ("POST", 201) and request.url.path in ("/tokens", "/ui/tokens"):
            (made,) = re.findall(r"pgdbm_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", text)
            self.plant("a token", made)
            text = text.replace(made, "")
        headers = repr(response.headers.raw)
        for cookie in response.cookies.jar:
            self.plant("a cookie", cookie.value or "")
            headers = headers.replace(cookie.value or "no value", "")
        if not request.url.path.startswith("/static/"):
            self.see(f"{request.method} {request.url.path}", f"{headers}\n{text}")

    def leaks(self) -> list[str]:
        """Each secret, and where it was found."""
        return [
            f"{what} in {where}: {text[:2000]}"
            for where, text in self._seen
            for secret, what in self._secrets.items()
            if secret in text
        ]

    def logged(self) -> str:
        return "\n".join(text for where, text in self._seen if where == "log")


class _LogWatch(logging.Handler):
    """Sees each line as it is written, except those of the tests' own HTTP client."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    def emit(self, record: logging.LogRecord) -> None:
        if not record.name.startswith("httpx2"):
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
def prepared(databases: Databases) -> Iterator[str]:
    """The name of a database that has the service's own tables: so that most tests need not create them."""

    async def prepare(dsn: str) -> None:
        pool = await asyncpg.create_pool(dsn, min_size=1, max_size=2)
        try:
            await migrate_service_schema(pool)
            await prepare_queue(pool)
        finally:
            await pool.close()

    with databases.fresh() as dsn:
        asyncio.run(prepare(dsn))
        yield urlsplit(dsn).path.removeprefix("/")


@pytest.fixture
def database(databases: Databases, prepared: str, shared_service: SharedService | None) -> Iterator[str]:
    """The DSN of a fresh database that a service has used, dropped at the end; or that of the shared service."""
    if shared_service is not None:
        yield shared_service.direct.database
        return
    with databases.fresh(template=prepared) as dsn:
        yield dsn


@pytest.fixture
def make_token(direct: Direct, watch: Watch) -> Callable[..., str]:
    """``make_token(*scopes, name=…, expires=…)``: a token, created in the database without a service."""

    def make(*scopes: str, **options: str) -> str:
        token = direct.make_token(*scopes, **options)
        watch.plant("a token", token)
        return token

    return make


@pytest.fixture
def start(repo: Repo, database: str, watch: Watch) -> Iterator[Callable[..., RunningService]]:
    """``start(**settings)``: a service of the test's own."""
    with contextlib.ExitStack() as stack:

        def run(**settings: Any) -> RunningService:
            usual = {"database_url": database, "migrations_repo": repo.path}
            return stack.enter_context(serving(watch, **(usual | settings)))

        yield run


class Proxy:
    """A TCP proxy, most often to the database: it can close connections, stop passing data, and change answers.

    ``damages`` has what replaces the next bytes like each key that the target sends; then the key is removed.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener: socket.socket | None = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._silent = threading.Event()
        self._closed = False
        self.damages: dict[bytes, bytes] = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._forward)
        self._thread.start()

    def cut(self) -> None:
        """Refuse new connections, and close the existing ones."""
        with self._lock:
            assert self._listener is not None
            self._listener.close()
            self._listener = None
            for pair in self._pairs:
                for end in pair:
                    end.close()
            self._pairs.clear()

    def restore(self, target: tuple[str, int] | None = None) -> None:
        """Accept connections again, and pass them to ``target``, if that is given."""
        with self._lock:
            self._target = target or self._target
            self._listener = socket.create_server(("127.0.0.1", self.port))

    def stall(self) -> None:
        """Accept connections and bytes, and pass nothing on."""
        self._silent.set()

    def resume(self) -> None:
        self._silent.clear()

    def close(self) -> None:
        self._closed = True
        self._thread.join(DEADLINE_S)
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
                for found in [
                    one for one in self.damages if one in data and any(end is pair[1] for pair in self._pairs)
                ]:
                    data = data.replace(found, self.damages.pop(found), 1)
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
    return through(proxy.port, database)


@dataclass
class Process:
    """``python -m pgdbm_service``, or another command, with its output so far."""

    popen: subprocess.Popen[bytes] | ForkedService
    folder: Path

    @property
    def out(self) -> str:
        return (self.folder / "out").read_text()

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text()

    def wait(self) -> int:
        return self.popen.wait(DEADLINE_S)

    def url(self) -> str:
        """The address that it prints or logs."""

        def address() -> str | None:
            assert self.popen.poll() is None, self.err
            _, found, rest = self.out.partition("serves ")
            if found and "Try:" in rest:
                return rest.split()[0]
            # With PGDBM_LOG_FORMAT=json there is a line in the log instead.
            lines = [json.loads(line) for line in self.err.splitlines() if '"listening"' in line]
            return f"http://{lines[0]['host']}:{lines[0]['port']}" if lines else None

        return str(eventually(address))


@pytest.fixture
def begin(tmp_path: Path, repo: Repo, watch: Watch) -> Iterator[Callable[..., Process]]:
    """``begin(how, **variables)``: the process that ``how`` starts, with a folder for its output and these environment
    variables."""
    started: list[Process] = []

    def run(
        how: Callable[[Path, dict[str, str]], subprocess.Popen[bytes] | ForkedService], **variables: str
    ) -> Process:
        folder = tmp_path / f"process{len(started)}"
        folder.mkdir()
        # With COVERAGE_, a service of a test is measured like the test itself.
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name in {"PATH", "HOME", "LANG"} or name.startswith("COVERAGE_")
        }
        defaults = {"PYTHONPATH": str(APP), "PGDBM_PORT": "0", "PGDBM_MIGRATIONS_REPO": str(repo.path)}
        process = Process(how(folder, inherited | defaults | variables), folder)
        started.append(process)
        watch.plant("the password of the database", urlsplit(variables.get("DATABASE_URL", "")).password or "")
        return process

    yield run
    for process in started:
        if process.popen.poll() is None:
            process.popen.kill()
        process.wait()
        if not any("token" in str(argument) for argument in process.popen.args):  # type: ignore[union-attr]
            # A new token is printed there.
            watch.see("output", (process.folder / "out").read_text(errors="replace"))
        watch.see("output", (process.folder / "err").read_text(errors="replace"))


@pytest.fixture
def launch(begin: Callable[..., Process], tmp_path: Path) -> Callable[..., Process]:
    """``launch(*arguments, **variables)``: a Python process with these environment variables."""

    def run(*arguments: str, cwd: Path | None = None, **variables: str) -> Process:
        def start(folder: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
            with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
                return subprocess.Popen(
                    [sys.executable, *(arguments or ("-m", "pgdbm_service"))],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    cwd=cwd or tmp_path,
                )

        return begin(start, **variables)

    return run


@pytest.fixture
def fork(begin: Callable[..., Process], tmp_path: Path) -> Callable[..., Process]:
    """``fork(**variables)``: what ``launch(**variables)`` starts, at a quarter of the cost.

    For tests that are about the service, not about the command.
    """

    def start(folder: Path, environment: dict[str, str]) -> ForkedService:
        return ForkedService(environment, out=folder / "out", err=folder / "err", cwd=tmp_path)

    return partial(begin, start)
