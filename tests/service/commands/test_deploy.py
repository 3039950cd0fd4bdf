"""``pgdbm deploy``, ``runs`` and ``wait``: their output, and the exit codes that a pipeline acts on."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from pgdbm_service.__main__ import _command
from pgdbm_service.client import AsyncClient

from ..conftest import DEADLINE_S, Proxy, bearer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TABLE = "CREATE TABLE {{tables.t}} (id integer);\n"
RUNNING = "SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


class Pipeline:
    """A folder with migrations, and commands that are run in it. Most commands run in this process."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._capsys = capsys
        self.environ = monkeypatch
        (folder / "migrations").mkdir(parents=True)
        monkeypatch.chdir(folder)

    def write(self, name: str, content: str) -> None:
        (self.folder / "migrations" / name).write_text(content)

    def __call__(self, *arguments: str) -> Done:
        self._capsys.readouterr()
        code = _command(list(arguments))
        return Done(code, *self._capsys.readouterr())


async def raise_timeout(*_: Any) -> None:
    raise TimeoutError


@pytest.fixture
def pipeline(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    return Pipeline(tmp_path / "pipeline", capsys, monkeypatch)


def test_successive_deployments_apply_only_new_files(
    start: Callable[..., Any], make_token: Callable[..., str], pipeline: Pipeline, tmp_path: Path
) -> None:
    service = start(auth="tokens", log_level="error")
    secret = make_token("read", "register:shop", "migrate:shop")
    headers = bearer(secret)
    token_file = tmp_path / "token"
    token_file.write_text(f"{secret}\n")
    pipeline.environ.setenv("PGDBM_SERVER", service.url)
    pipeline.environ.setenv("PGDBM_TOKEN", secret)
    pipeline.write("001_t.sql", TABLE)
    pipeline.write("001_t.down.sql", "DROP TABLE {{tables.t}}")
    pipeline.write("module.toml", 'description = "A shop"\nschema = "shop_data"\n')

    first = pipeline("deploy", "shop")
    assert (first.code, first.err) == (0, "")
    registered, run, applied, ended = first.out.splitlines()
    assert registered.startswith("shop (schema shop_data): 2 files registered as sha256:")
    assert registered.endswith(", 1 pending")
    assert run.startswith("Run ")
    assert applied.startswith("  001_t.sql  ")
    assert ended.startswith("shop: 1 applied in ")
    module = service.get("/modules/shop", headers=headers).json()
    assert (module["description"], module["state"]) == ("A shop", "up_to_date")

    again = pipeline("deploy", "shop", "--token-file", str(token_file))
    assert again.code == 0
    assert "already registered" in again.out
    assert again.out.endswith("shop: up to date, 1 already applied\n")

    # A rehearsal changes nothing.
    pipeline.write("002_more.sql", "SELECT 1;\n")
    rehearsed = pipeline("deploy", "shop", "--dry-run", "--json")
    assert rehearsed.code == 0
    assert (rehearsed.document["status"], rehearsed.document["registration"]) == ("dry_run", "dry_run")
    assert rehearsed.document["pending"] == ["002_more.sql"]
    assert service.get("/modules/shop", headers=headers).json()["digest"] == module["digest"]

    document = pipeline("deploy", "shop", "--json").document
    assert (document["status"], document["registration"], document["module"]) == ("success", "registered", "shop")
    assert [one["filename"] for one in document["applied"]] == ["002_more.sql"]

    # A file that is not SQL: nothing is registered, and the line is shown.
    pipeline.write("003_broken.sql", "SELECT 1;\n  SELEKT 2;\n")
    broken = pipeline("deploy", "shop")
    assert (broken.code, broken.out) == (1, "")
    assert broken.err.startswith("error: migrations/003_broken.sql:2:3: ")
    assert "  2 |   SELEKT 2;\n    |   ^\n" in broken.err

    # SQL that the database refuses.
    pipeline.write("003_broken.sql", "SELECT 1;\nSELECT 1 / 0;\n")
    failed = pipeline("deploy", "shop")
    assert failed.code == 1
    assert "  003_broken.sql  failed" in failed.out
    assert failed.err.startswith("error: migrations/003_broken.sql:2:")
    assert "division by zero" in failed.err
    error = pipeline("deploy", "shop", "--json").document["error"]
    assert (error["code"], error["sqlstate"], error["line"]) == ("migration_failed", "22012", 2)
    assert error["file"] == "migrations/003_broken.sql"

    # An applied file that was changed.
    pipeline.write("001_t.sql", TABLE.replace("id", "number"))
    changed = pipeline("deploy", "shop")
    assert changed.code == 4
    assert "-CREATE TABLE {{tables.t}} (id integer);" in changed.err

    # Forbidden, or unauthenticated.
    forbidden = pipeline("deploy", "other")
    assert (forbidden.code, "register:other" in forbidden.err) == (5, True)
    pipeline.environ.delenv("PGDBM_TOKEN")
    unknown = pipeline("deploy", "shop")
    assert unknown.code == 5
    assert secret not in f"{first}{failed}{changed}{forbidden}{unknown}"
    assert "Hint: Set PGDBM_TOKEN" in unknown.err


def test_invalid_input_is_refused_before_a_request(pipeline: Pipeline) -> None:
    assert pipeline("deploy", "shop").err.startswith("error: There are no migrations (*.sql) in migrations")
    pipeline.write("002_B.SQL", TABLE)
    misspelt = pipeline("deploy", "shop", "--server", "http://127.0.0.1:9")
    assert (misspelt.code, "002_B.SQL: the suffix of a migration is .sql" in misspelt.err) == (1, True)
    (pipeline.folder / "migrations" / "002_B.SQL").unlink()
    pipeline.write("001_t.sql", TABLE)
    assert "The service is not specified" in pipeline("deploy", "shop").err
    pipeline.environ.setenv("PGDBM_TOKEN", "secret")
    unsafe = pipeline("deploy", "shop", "--server", "http://pgdbm.example.com")
    assert (unsafe.code, "unencrypted" in unsafe.err, "--allow-http" in unsafe.err) == (2, True, True)
    assert pipeline("deploy", "shop", "--server", "example.com").code == 2
    missing = pipeline("deploy", "shop", "--server", "http://127.0.0.1:9", "--token-file", "nowhere")
    assert (missing.code, "nowhere" in missing.err) == (1, True)
    over = pipeline("wait", "shop", "--server", "http://127.0.0.1:9", "--timeout", "0.3")
    assert (over.code, "Timed out; shop is not ready" in over.err) == (7, True)
    pipeline.environ.setattr("pgdbm_service.commands.server._RETRY_FOR_S", 0.4)
    away = pipeline("deploy", "shop", "--server", "http://127.0.0.1:9")
    assert away.code == 6
    assert "Trying again." in away.err
    assert "error: http://127.0.0.1:9 cannot be reached" in away.err
    assert "secret" not in unsafe.err + away.err


def test_a_pipeline_is_retried_longer_than_a_person(pipeline: Pipeline) -> None:
    seconds: list[float] = []

    class Client(AsyncClient):
        def __init__(self, *values: Any, retry_for_s: float, **options: Any) -> None:
            seconds.append(retry_for_s)
            super().__init__(*values, retry_for_s=0, **options)

    pipeline.environ.setattr("pgdbm_service.client.AsyncClient", Client)
    pipeline.write("001_t.sql", TABLE)
    for command in (("deploy", "shop"), ("runs", "show", str(uuid4())), ("freeze", "list")):
        assert pipeline(*command, "--server", "http://127.0.0.1:9").code == 6
    assert seconds == [60, 10, 10]


def test_modules_of_a_configuration_file_are_deployed(service: Any, pipeline: Pipeline) -> None:
    pipeline.environ.setenv("PGDBM_SERVER", service.url)
    pipeline.write("001_t.sql", TABLE)
    (pipeline.folder / "pgdbm.toml").write_text(
        '[modules.users]\npath = "migrations"\nschema = "people"\n'
        '[modules.orders]\npath = "migrations"\nschema = "sales"\ndepends_on = ["users"]\n'
    )
    assert "schema people" in pipeline("deploy", "users").out
    assert pipeline("deploy", "orders", "--schema", "sales_2").code == 0
    module = service.get("/modules/orders").json()
    assert (module["schema"], module["depends_on"], module["out_of_order"]) == ("sales_2", ["users"], "allow")
    assert pipeline("deploy", "others").code == 2


def test_dependencies_are_migrated_first_on_request(service: Any, repo: Any, pipeline: Pipeline) -> None:
    pipeline.environ.setenv("PGDBM_SERVER", service.url)
    repo.write("users", _001_u=TABLE)
    service.sync()
    pipeline.write("001_t.sql", "CREATE TABLE {{tables.t}} AS TABLE {{tables.users.t}};\n")
    command = ("deploy", "orders", "--depends-on", "users")
    refused = pipeline(*command)
    assert refused.code == 4
    assert "users" in refused.err
    done = pipeline(*command, "--with-dependencies")
    assert done.code == 0, done.err
    assert [line.partition(" applied")[0] for line in done.out.splitlines()[-2:]] == ["users: 1", "orders: 1"]
    pipeline.write("002_more.sql", "SELECT 1;\n")
    document = pipeline(*command, "--with-dependencies", "--json").document
    assert (document["module"], document["status"]) == ("orders", "success")
    assert [one["filename"] for one in document["applied"]] == ["002_more.sql"]
    assert [(one["module"], one["status"]) for one in document["dependencies"]] == [("users", "up_to_date")]


def test_a_run_is_followed_over_a_lost_connection(
    service: Any, pipeline: Pipeline, sql: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    address = urlsplit(service.url)
    proxy = Proxy(str(address.hostname), int(address.port or 0))
    pipeline.write("001_t.sql", TABLE)
    pipeline.write("002_slow.sql", "SELECT pg_sleep(1)")
    pipeline.write("003_after.sql", "SELECT 3")

    def cut() -> None:
        eventually(lambda: sql(RUNNING))
        # The command may not follow the run yet when the first one arrives.
        for _ in range(4):
            proxy.cut()
            proxy.restore()
            time.sleep(0.15)

    try:
        with ThreadPoolExecutor(1) as threads:
            cutting = threads.submit(cut)
            done = pipeline("deploy", "shop", "--server", f"http://127.0.0.1:{proxy.port}")
            cutting.result()
    finally:
        proxy.close()
    assert done.code == 0
    files = [line.split()[0] for line in done.out.splitlines() if line.startswith("  ")]
    assert files == ["001_t.sql", "002_slow.sql", "003_after.sql"]
    assert "Trying again." in done.err


def test_an_interrupted_command_leaves_the_run_running(
    service: Any, pipeline: Pipeline, sql: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    pipeline.environ.setenv("PGDBM_SERVER", service.url)
    pipeline.write("001_slow.sql", "SELECT pg_sleep(30)")
    main, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pgdbm_service", "deploy", "shop"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=terminal,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "120"},
        text=True,
    )
    os.close(terminal)
    try:
        shown = ""
        while "001_slow.sql, statement 1 of 1" not in shown:
            shown += os.read(main, 65536).decode()
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 130
        shown += os.read(main, 65536).decode()
    finally:
        process.kill()
        os.close(main)
    run_id = out.splitlines()[1].removeprefix("Run ")
    assert f"Interrupted; run {run_id} continues." in shown

    # The run is listed, shown, cancelled and retried.
    assert sql(RUNNING)
    listed = pipeline("runs", "--module", "shop")
    assert listed.out.splitlines()[1].startswith(f"{run_id}  shop    running")
    assert "001_slow.sql, statement 1 of 1" in pipeline("runs", run_id).out
    assert pipeline("runs", "cancel", run_id).code == 0
    cancelled = pipeline("runs", run_id, "--follow")
    assert (cancelled.code, "run_cancelled" in pipeline("runs", run_id, "-f", "--json").out) == (4, True)
    assert "cancellation was requested" in cancelled.out
    assert pipeline("runs", "cancel", run_id).code == 4
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pgdbm_service.commands.deploy.followed", raise_timeout)
        over = pipeline("deploy", "shop")
    assert (over.code, "Timed out; run " in over.err) == (7, True)
    (again,) = eventually(lambda: pipeline("runs", "--status", "running", "--json").document["items"])
    assert pipeline("runs", "cancel", again["id"]).code == 0
    eventually(lambda: not sql(RUNNING))
    eventually(lambda: pipeline("runs", again["id"], "--json").document["status"] == "cancelled")
    pipeline.write("001_slow.sql", "SELECT 1")
    assert pipeline("deploy", "shop", "--dry-run").code == 0
    files = {"migrations": [{"filename": "001_slow.sql", "content": "SELECT 1"}]}
    service.client.put("/modules/shop", json=files)
    retried = pipeline("runs", "retry", again["id"])
    assert (retried.code, retried.out.splitlines()[-1]) == (0, "shop: 1 applied")
    assert pipeline("runs", "00000000-0000-0000-0000-000000000000").code == 2
    assert pipeline("runs", "nonsense").code == 2


def test_wait_returns_when_the_module_is_migrated(service: Any, pipeline: Pipeline) -> None:
    pipeline.environ.setenv("PGDBM_SERVER", service.url)
    waiting = subprocess.Popen(
        [sys.executable, "-m", "pgdbm_service", "wait", "shop", "--require", "001"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with waiting:
        assert waiting.stdout is not None
        assert waiting.stderr is not None
        assert waiting.stderr.readline().startswith("There is no module 'shop'")
        files = [{"filename": "001_t.sql", "content": TABLE}]
        assert service.client.put("/modules/shop", json={"migrations": files}).status_code == 201
        assert waiting.stderr.readline() == "shop is waiting for 001_t.sql.\n"
        assert service.post("/modules/shop/migrate").status_code == 200
        assert waiting.stdout.read() == "shop (schema shop) is ready at version 001.\n"
        assert waiting.wait(DEADLINE_S) == 0
    assert pipeline("wait", "shop").code == 0
    later = pipeline("wait", "shop", "--require", "002", "--timeout", "0.5", "--json")
    assert (later.code, later.document["error"]["code"]) == (7, "timed_out")
