"""The client: every call of the API, blocking and with asyncio, over HTTP connections that are sometimes cut."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest

from pgdbm import MigrationFileError
from pgdbm_service.asgi import create_app
from pgdbm_service.client import (
    AsyncClient,
    Client,
    ClientError,
    MigrateBody,
    MigrateResult,
    ProblemError,
    RegistrationBody,
    Run,
    SubmittedMigration,
    UnexpectedAnswerError,
    UnreachableError,
    UnsafeServerError,
    archive_of,
)
from pgdbm_service.client.call import Call
from pgdbm_service.client.endpoints import CallMethod, ListingMethod
from pgdbm_service.settings import Settings

from ..conftest import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TABLE = "CREATE TABLE {{tables.t}} (id integer)"
# Alternatives to wait_s, or meant for clients that cannot follow a run.
_NOT_OFFERED = {("migrate", "Prefer"), ("migrate_all", "Prefer")}
_NOT_OFFERED |= {(name, "require_done") for name in ("migrate", "migrate_all", "retry_run")}
_NO_METHODS = {"live", "ready", "show_metrics", "error_page"}


class Blocking:
    """An AsyncClient that is called like a Client, in an event loop of its own."""

    def __init__(self, runner: asyncio.Runner, client: AsyncClient) -> None:
        self._run = runner.run
        self._client = client

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            answer = method(*args, **kwargs)
            return self._iterate(answer) if hasattr(answer, "__anext__") else self._run(answer)

        return call

    def _iterate(self, items: Any) -> Iterator[Any]:
        while True:
            try:
                yield self._run(anext(items))
            except StopAsyncIteration:
                return


@contextmanager
def opened(kind: str, *args: Any, **options: Any) -> Iterator[Any]:
    if kind == "blocking":
        with Client(*args, **options) as client:
            yield client
        return
    with asyncio.Runner() as runner:
        client = AsyncClient(*args, **options)
        try:
            yield Blocking(runner, client)
        finally:
            runner.run(client.close())


BOTH = ("blocking", "asyncio")


def body(**files: str) -> RegistrationBody:
    sent = [SubmittedMigration(filename=f"{name.lstrip('_')}.sql", content=sql) for name, sql in files.items()]
    return RegistrationBody(migrations=sent)


def methods() -> dict[str, CallMethod[..., Any] | ListingMethod[..., Any]]:
    members = {name: inspect.getattr_static(Client, name) for name in dir(Client)}
    return {name: one for name, one in members.items() if isinstance(one, CallMethod | ListingMethod)}


def described(method: Any) -> Any:
    """What the method sends with every argument; a list as its first page."""
    given = {"run_id": uuid4(), "statement": 1, "applied": True, "done": True, "scopes": ["read"], "body": None}
    parameters = list(inspect.signature(method._describe).parameters)[1:]
    made = method.describe(
        **{
            name: given.get(name, 7 if name in ("limit", "steps", "wait_s", "timeout_s") else "x")
            for name in parameters
        }
    )
    return made if isinstance(made, Call) else made.call


def test_every_call_of_the_api_has_a_method() -> None:
    app = create_app(Settings(database_url="postgresql://user@127.0.0.1/none"))
    document: Any = app.openapi_schema.to_schema()
    operations = {
        operation["operationId"]: (method.upper(), path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in ("get", "post", "put", "patch", "delete")
    }
    assert set(operations) - _NO_METHODS - {"stream_events", "stream_all_events"} == set(methods())
    for name, described_method in methods().items():
        method, path, operation = operations[name]
        call = described(described_method)
        assert (call.method, call.path) == (method, path), name
        offered = {*call.parts, *call.query, *call.headers}
        documented = {one["name"] for one in operation.get("parameters", ())}
        assert offered == documented - {parameter for other, parameter in _NOT_OFFERED if other == name}, name
        answers = operation["responses"]
        content = (answers.get("200") or answers["201"])["content"]["application/json"]
        answer = MigrateResult if name == "retry_run" else call.answer
        assert f"{answer.__name__}'" in str(content["schema"]), name
        assert ("202" in answers) == (call.accepted is Run), name
        assert ("requestBody" in operation) == (call.body is not None or name in ("migrate", "register_module")), name


def test_importing_the_client_loads_no_server_packages() -> None:
    """The client loads none of the service's packages, and the help of the commands loads nothing slow."""
    probe = (
        "import sys\n"
        "from pgdbm_service.commands import deploy, runs, wait\n"
        "loaded = {'asyncio', 'httpx2', 'msgspec', 'rich', 'ssl'} & set(sys.modules)\n"
        "import pgdbm_service.client\n"
        "heavy = {'litestar', 'uvicorn', 'structlog', 'prometheus_client', 'pgqueuer', 'asyncpg', 'postgast'}\n"
        "sys.exit(str(sorted(loaded | heavy & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("kind", BOTH)
def test_a_module_is_registered_migrated_and_read(service: Any, repo: Any, kind: str, tmp_path: Any) -> None:
    repo.write("other", _001_a=TABLE, _002_b="SELECT 2")
    service.sync()
    with opened(kind, service.url) as client:
        files = {"_001_a": TABLE, "_002_b": "SELECT pg_sleep(0.5)"}
        rehearsed = client.register_module("m", body(**files), dry_run=True)
        assert (rehearsed.status, rehearsed.pending) == ("dry_run", ["001_a.sql", "002_b.sql"])
        assert [one.name for one in client.list_modules()] == ["other"]
        registered = client.register_module("m", body(**files), description="Both")
        assert (registered.status, registered.digest != rehearsed.digest) == ("registered", True)
        with pytest.raises(ProblemError) as caught:
            client.register_module("m", body(**files), if_none_match="*")
        assert (caught.value.code, caught.value.status) == ("precondition_failed", 412)

        started = client.migrate("m", MigrateBody(bundle=registered.digest, wait_s=0), idempotency_key="k")
        assert isinstance(started, Run)
        events = list(client.follow(started.id))
        assert [one.number for one in events] == list(range(1, len(events) + 1))
        assert [one.filename for one in events if one.kind == "migration_ended"] == ["001_a.sql", "002_b.sql"]
        assert (events[-1].kind, events[-1].status) == ("run_ended", "succeeded")
        assert list(client.follow(started.id, after=events[-2].number)) == events[-1:]
        assert list(client.follow(started.id, after=events[-1].number)) == []
        result = client.wait_for(started)
        assert [one.filename for one in result.applied] == ["001_a.sql", "002_b.sql"]
        again = client.migrate("m", MigrateBody(bundle=registered.digest), idempotency_key="k")
        assert again.run_id == started.id
        up_to_date = client.migrate("m")
        assert isinstance(up_to_date, MigrateResult)
        assert up_to_date.status == "up_to_date"
        assert client.wait_for(up_to_date) is up_to_date
        assert client.register_module("m", body(**files), description="Both").pending == []
        # One of the two schemas is up to date.
        elsewhere = client.register_module("m", body(**files), schemas=["m", "m2"], dry_run=True)
        assert (elsewhere.schemas, elsewhere.pending) == (["m", "m2"], ["001_a.sql", "002_b.sql"])

        assert client.get_module("m").state == "up_to_date"
        assert [one.filename for one in client.get_history("m")] == ["002_b.sql", "001_a.sql"]
        assert [one.filename for one in client.get_history("m", limit=1)] == ["002_b.sql"]
        assert client.get_migration("m", "001_a.sql").sql == TABLE
        assert [one.id for one in client.list_runs(module="m", status="succeeded")] == [started.id]
        assert client.module_ready("m", require="2").version == "002"
        assert client.migrate_all(dry_run=True).items[1].pending == ["001_a.sql", "002_b.sql"]
        assert client.mark_migration("other", "001_a.sql", applied=True).applied
        assert {one.name for one in client.list_schemas()} >= {"m", "other", "public"}
        assert [(one.method, one.path) for one in client.get_audit(module="m", limit=1)]
        everything = client.migrate_all(wait_s=0)
        assert isinstance(everything, Run)
        assert [one.filename for one in client.wait_for(everything).applied] == ["002_b.sql"]
        assert client.get_pool().max > 0

        folder = tmp_path / "folder"
        folder.mkdir()
        (folder / "001_a.sql").write_text("SELECT 1;\n\n SELEKT 2")
        (folder / "README.md").write_text("no SQL")
        with pytest.raises(ProblemError) as caught:
            client.register_module("n", archive_of(folder), depends_on=["m", "other"])
        problem = caught.value
        assert (problem.code, problem.filename, problem.line, problem.column) == (
            "migration_file_invalid",
            "001_a.sql",
            3,
            2,
        )
        assert str(problem).startswith("001_a.sql:3:2: ")
        (folder / "001_a.sql").write_text("SELECT 1 / 0")
        assert client.register_module("n", archive_of(folder), depends_on=["m"]).depends_on == ("m",)
        with pytest.raises(ProblemError) as caught:
            client.wait_for(client.migrate("n", MigrateBody(wait_s=0)))
        assert (caught.value.code, caught.value.sqlstate, UUID(caught.value.run_id)) == (
            "migration_failed",
            "22012",
            next(client.list_runs(module="n")).id,
        )
        assert client.unregister_module("n").status == "unregistered"
        with pytest.raises(ProblemError) as caught:
            client.get_plan("a?b c")
        assert caught.value.code == "module_unknown"


def test_lists_are_read_page_by_page(service: Any, repo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        repo.write(f"m{number}", _001_a="SELECT 1")
    service.sync()
    for kind in BOTH:
        with opened(kind, service.url) as client:
            monkeypatch.setattr("pgdbm_service.client.call.MAX_PAGE_SIZE", 2)
            listing = inspect.getattr_static(Client, "list_modules").describe(limit=None)
            assert [len(page) for page in (list(client.list_modules(limit=3)), list(client.each(listing)))] == [3, 5]


@pytest.mark.parametrize("kind", BOTH)
def test_following_resumes_after_a_lost_connection(service: Any, repo: Any, kind: str) -> None:
    repo.write("m", **{f"_{number:03}": "SELECT pg_sleep(0.1)" for number in range(1, 11)})
    service.sync()
    address = urlsplit(service.url)
    proxy = Proxy(str(address.hostname), int(address.port or 0))
    retries: list[Any] = []
    try:
        with opened(kind, f"http://127.0.0.1:{proxy.port}", on_retry=retries.append) as client:
            run = client.migrate("m", MigrateBody(wait_s=0))
            seen = []
            for event in client.follow(run.id):
                seen.append(event)
                if len(seen) == 4:
                    proxy.cut()
                    proxy.restore()
    finally:
        proxy.close()
    assert [one.number for one in seen] == list(range(1, len(seen) + 1))
    assert [one.filename for one in seen if one.kind == "migration_ended"] == [f"{n:03}.sql" for n in range(1, 11)]
    assert seen[-1].kind == "run_ended"
    assert retries


@pytest.mark.parametrize("kind", BOTH)
def test_a_migrate_is_streamed_up_to_its_result(service: Any, repo: Any, kind: str) -> None:
    repo.write("m", _001_a=TABLE, _002_b="SELECT pg_sleep(0.2)")
    repo.write("bad", _001_a="SELECT 1 / 0")
    service.sync()
    with opened(kind, service.url) as client:
        *events, result = client.stream_migrate("m", MigrateBody(target="001"))
        assert [one.number for one in events] == list(range(1, len(events) + 1))
        assert (events[0].kind, events[-1].kind) == ("run_queued", "run_ended")
        assert isinstance(result, MigrateResult)
        assert [one.filename for one in result.applied] == ["001_a.sql"]
        assert result == client.wait_for(result.run_id)
        (up_to_date,) = client.stream_migrate("m", MigrateBody(target="001"), idempotency_key="k")
        assert up_to_date.status == "up_to_date"
        seen = []
        with pytest.raises(ProblemError) as caught:
            seen += [one.kind for one in client.stream_migrate("bad")]
        assert (caught.value.code, caught.value.sqlstate) == ("migration_failed", "22012")
        assert caught.value.run_id
        with pytest.raises(ProblemError) as caught:
            list(client.stream_migrate("unknown"))
        assert caught.value.code == "module_unknown"


@pytest.mark.parametrize("kind", BOTH)
def test_a_streamed_migrate_outlives_its_connection(service: Any, repo: Any, kind: str) -> None:
    repo.write("m", **{f"_{number:03}": "SELECT pg_sleep(0.1)" for number in range(1, 11)})
    service.sync()
    address = urlsplit(service.url)
    proxy = Proxy(str(address.hostname), int(address.port or 0))
    seen = []
    try:
        with opened(kind, f"http://127.0.0.1:{proxy.port}") as client:
            for one in client.stream_migrate("m"):
                seen.append(one)
                if len(seen) == 4:
                    proxy.cut()
                    proxy.restore()
    finally:
        proxy.close()
    *events, result = seen
    assert [one.number for one in events] == list(range(1, len(events) + 1))
    assert [one.filename for one in result.applied] == [f"{n:03}.sql" for n in range(1, 11)]


def test_an_unreachable_service_is_an_error() -> None:
    for kind in BOTH:
        retries: list[Any] = []
        with opened(kind, "http://127.0.0.1:9", retry_for_s=0.4, on_retry=retries.append) as client:
            with pytest.raises(UnreachableError, match=r"http://127\.0\.0\.1:9 cannot be reached"):
                client.get_module("m")
            assert retries
            with pytest.raises(UnreachableError):
                next(client.follow(uuid4()))


@pytest.mark.settings(auth="tokens", auth_failures_per_minute=10000)
def test_the_token_is_not_sent_to_another_host(
    service: Any,
    make_token: Callable[..., str],
    repo: Any,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(UnsafeServerError, match=r"pgdbm\.example\.com unencrypted"):
        Client("http://pgdbm.example.com", "secret")
    for server in ("pgdbm.example.com", "ftp://x", "https://user:secret@x"):
        with pytest.raises(ClientError) as refused:
            Client(server)
        assert "secret" not in str(refused.value)
    Client("http://pgdbm.example.com", "secret", allow_http=True).close()
    Client("http://pgdbm.example.com").close()

    repo.write("m", _001_a=TABLE)
    service.sync()
    token = make_token("read")
    # No server listens there.
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    given = iter(["wrong", token, token])
    for kind in BOTH:
        with opened(kind, service.url, lambda: next(given)) as client:
            if kind == "blocking":
                with pytest.raises(ProblemError) as caught:
                    client.get_module("m")
                assert caught.value.code == "unauthenticated"
            assert client.get_module("m").name == "m"
            assert token not in repr(client)
    with Client(service.url, token) as client:
        with pytest.raises(ProblemError) as caught:
            client.migrate("m")
        assert (caught.value.code, caught.value.scope) == ("forbidden", "migrate:m")
    with Client(service.url, "not\na token") as client, pytest.raises(ClientError, match="characters") as broken:
        client.get_module("m")
    assert "not\na" not in str(broken.value)
    assert token not in caplog.text


class HTMLServer(BaseHTTPRequestHandler):
    """Answers everything with an HTML page, as proxies do."""

    def do_GET(self) -> None:
        page = b"<h1>Please log in</h1>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: Any) -> None:
        pass


def test_an_answer_of_another_server_is_an_error() -> None:
    with HTTPServer(("127.0.0.1", 0), HTMLServer) as server, ThreadPoolExecutor(1) as threads:
        threads.submit(server.serve_forever, 0.02)
        try:
            for kind in BOTH:
                with opened(kind, f"http://127.0.0.1:{server.server_port}", retry_for_s=0) as client:
                    with pytest.raises(UnexpectedAnswerError, match="cannot decode the answer"):
                        client.get_module("m")
                    with pytest.raises(UnexpectedAnswerError, match="Please log in"):
                        next(client.follow(uuid4()))
        finally:
            server.shutdown()


@pytest.mark.parametrize(("name", "reason"), [("002_b.SQL", "in lower case"), ("002_b.sql", "broken symbolic link")])
def test_an_archive_leaves_out_no_migration(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "001_a.sql").write_text("SELECT 1")
    assert archive_of(tmp_path)
    if reason == "broken symbolic link":
        (tmp_path / name).symlink_to(tmp_path / "missing")
    else:
        (tmp_path / name).write_text("SELECT 2")
    with pytest.raises(MigrationFileError, match=reason) as caught:
        archive_of(tmp_path)
    assert caught.value.migration_file == name
