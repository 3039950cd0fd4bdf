"""Migrates that are answered with the events of their run, and its result at the end."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from pgdbm_service.client import Client
from tests.support.waiting import eventually

from ...conftest import ROOT
from ...support.front_proxy import FrontProxy
from .. import event_streams

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..conftest import Process

STREAM = {"Accept": "text/event-stream"}
TABLE = "CREATE TABLE {{tables.t}} (id integer PRIMARY KEY)"


def streamed(service: Any, path: str, **options: Any) -> tuple[list[event_streams.Event], str | None]:
    """The events of a call, and the address of the run."""
    with service.client.stream("POST", f"{service.url}{path}", headers=STREAM, **options) as response:
        return list(event_streams.read(response)), response.headers.get("location")


def test_a_migrate_ends_with_its_result(service: Any, repo: Any) -> None:
    repo.write("m", _001_a=TABLE, _002_b="SELECT pg_sleep(0.2)")
    service.sync()
    events, location = streamed(service, "/modules/m/migrate")
    result = events.pop()
    assert [one.number for one in events] == list(range(1, len(events) + 1))
    assert (events[0].kind, events[-1].kind) == ("run_queued", "run_ended")
    assert result.kind == "result"
    assert [one["filename"] for one in result.data["applied"]] == ["001_a.sql", "002_b.sql"]
    assert location == f"/runs/{result.data['run_id']}"
    assert service.get(location).json()["result"] == result.data
    # Without a run there is only the result.
    again, location = streamed(service, "/modules/m/migrate?require_done=true", json={"wait_s": 10})
    assert [(one.kind, one.data["status"]) for one in again] == [("result", "up_to_date")]
    assert location is None
    (planned,), _ = streamed(service, "/modules/m/migrate", json={"dry_run": True})
    assert (planned.kind, planned.data["status"]) == ("result", "dry_run")


def test_a_failed_migrate_ends_with_its_problem(service: Any, repo: Any) -> None:
    repo.write("m", _001_a="SELECT 1 / 0")
    service.sync()
    events, location = streamed(service, "/modules/m/migrate")
    assert [one.kind for one in events[-2:]] == ["run_ended", "problem"]
    problem = events[-1].data
    assert (problem["status"], problem["code"], problem["sqlstate"]) == (422, "migration_failed", "22012")
    assert location == f"/runs/{problem['run_id']}"
    assert problem["instance"] == "/modules/m/migrate"
    # What is refused before there is a run has the status of an error.
    assert service.post("/modules/unknown/migrate", headers=STREAM).status_code == 404

    repo.write("m", _001_a="SELECT 1")
    service.sync()
    events, _ = streamed(service, f"{location}/retry")
    assert (events[-1].kind, events[-1].data["status"]) == ("result", "success")


def test_several_modules_end_with_the_results_of_all(service: Any, repo: Any) -> None:
    repo.write("base", _001_a=TABLE)
    repo.write("m", 'depends_on = ["base"]', _001_a=TABLE)
    repo.write("other", _001_a=TABLE)
    service.sync()
    events, _ = streamed(service, "/modules/m/migrate", json={"with_dependencies": True})
    result = events[-1].data
    assert (result["module"], [one["module"] for one in result["dependencies"]]) == ("m", ["base"])
    events, _ = streamed(service, "/migrate")
    assert {one["module"]: one["status"] for one in events[-1].data["items"]} == {
        "base": "up_to_date",
        "m": "up_to_date",
        "other": "success",
    }


def test_a_comment_is_sent_while_nothing_happens(start: Callable[..., Any], repo: Any) -> None:
    repo.write("m", _001_a="SELECT pg_sleep(2)")
    service = start(stream_keep_alive_s=0.2)
    events, _ = streamed(service, "/modules/m/migrate")
    assert "comment" in [one.kind for one in events]
    assert events[-1].kind == "result"


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_the_client_continues_at_another_replica(
    stop: signal.Signals, fork: Callable[..., Process], repo: Any, database: str, sql: Callable[..., Any]
) -> None:
    repo.write("m", _001_a=TABLE, _002_b="SELECT pg_sleep(4)")
    settings = {"DATABASE_URL": database, "PGDBM_TAKEOVER_S": "1", "PGDBM_SHUTDOWN_GRACE_S": "0"}
    first, second = (fork(**settings) for _ in range(2))
    ports = [int(process.url().rpartition(":")[2]) for process in (first, second)]
    seen: list[Any] = []

    def migrate(url: str) -> None:
        with Client(url) as client:
            seen.extend(client.stream_migrate("m"))

    with FrontProxy(ports) as proxy, ThreadPoolExecutor(1) as threads:
        migrating = threads.submit(migrate, proxy.url)
        eventually(lambda: sql("SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep'"))
        first.popen.send_signal(stop)
        migrating.result()
    *events, result = seen
    assert [one.number for one in events] == list(range(1, len(events) + 1))
    assert [one.filename for one in result.applied] == ["001_a.sql", "002_b.sql"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_curl_as_documented_fails_unless_the_migration_succeeded(service: Any, repo: Any, tmp_path: Path) -> None:
    repo.write("slow", _001_a="SELECT pg_sleep(1)")
    repo.write("bad", _001_a="SELECT 1", _002_b="SELECT 1 / 0")
    service.sync()
    page = (ROOT / "docs" / "howto" / "runs.md").read_text()
    (command,) = (one for one in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) if "event-stream" in one)
    command = command.replace("http://127.0.0.1:8000", service.url)

    def migrate(module: str) -> int:
        of_module = command.replace("/parcels/", f"/{module}/")
        return subprocess.run(["sh", "-c", of_module], cwd=tmp_path, capture_output=True, timeout=120).returncode

    assert [migrate("slow"), migrate("slow"), migrate("bad"), migrate("unknown")] == [0, 0, 1, 1]
