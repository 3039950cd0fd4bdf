"""``python -m pgdbm_service`` as a process: settings, banner, shutdown."""

from __future__ import annotations

import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from pgdbm_service.settings import SettingsError, read_settings

from ..running_service import http_get, http_post

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SLEEPING = "SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
URL = "postgresql://u:hunter2@127.0.0.1:5432/x"


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"PGDBM_PORT": "eighty"}, "PGDBM_PORT"),
        ({"PGDBM_HOST": "0.0.0.0"}, "PGDBM_ALLOW_UNAUTHENTICATED"),
        ({"DATABASE_URL": "hunter2"}, "DATABASE_URL"),
    ],
)
def test_bad_settings_end_the_process(launch: Callable[..., Any], variables: dict[str, str], named: str) -> None:
    process = launch(**({"DATABASE_URL": URL} | variables))
    assert process.wait() == 2
    assert process.err.count("\n") == 1
    assert named in process.err
    assert "hunter2" not in process.err
    assert process.out == ""


def test_the_banner_is_printed_and_sigterm_waits_for_running_migrations(
    launch: Callable[..., Any], repo: Any, database: str, sql: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    repo.write("m", _001_a="CREATE TABLE {{tables.t}} (id integer); SELECT pg_sleep(1)")
    repo.write("orders", _001_a="SELECT 1")
    process = launch(DATABASE_URL=database)
    url = process.url()
    commands = [line.strip() for line in process.out.splitlines() if line.strip().startswith("curl")]
    assert commands == [
        f"curl -s {url}/modules",
        f"curl -s --fail-with-body -X POST '{url}/migrate?require_done=true'",
        f"curl -s {url}/modules/orders/history",
    ]
    assert http_post(f"{url}/modules/orders/migrate").json()["status"] == "success"
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(http_post, f"{url}/modules/m/migrate", timeout=30)
        eventually(lambda: sql(SLEEPING))
        process.popen.send_signal(signal.SIGTERM)
        response = call.result()
    assert (response.status_code, response.json()["status"]) == (200, "success")
    assert process.wait() == 0
    assert "Traceback" not in process.err
    assert len(sql("SELECT FROM m.schema_migrations")) == 1


def test_a_taken_port_ends_the_process(launch: Callable[..., Any], database: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = launch(DATABASE_URL=database, PGDBM_PORT=port)
        assert process.wait() == 1
    assert process.err.count("\n") == 1
    assert port in process.err


@pytest.mark.parametrize("with_factory", [False, True])
def test_migrations_are_cancelled_after_the_grace_period(
    launch: Callable[..., Any],
    repo: Any,
    database: str,
    sql: Callable[..., Any],
    eventually: Callable[..., Any],
    *,
    with_factory: bool,
) -> None:
    repo.write("m", _001_a="SELECT 1", _002_b="CREATE TABLE {{tables.t}} (id integer); SELECT pg_sleep(60)")
    variables = {"DATABASE_URL": database, "PGDBM_SHUTDOWN_GRACE_S": "0.2"}
    if with_factory:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        uvicorn = ("-m", "uvicorn", "--host", "0.0.0.0", "--port", port, "--no-proxy-headers")
        process = launch(*uvicorn, "--factory", "pgdbm_service.asgi:create_app", **variables)
        url = f"http://127.0.0.1:{port}"
        eventually(lambda: _answers(url))
        _check_that_only_loopback_is_served(port)
    else:
        process = launch(**variables)
        url = process.url()
    with ThreadPoolExecutor(1) as threads:
        forged = {"X-Forwarded-For": "203.0.113.9"}
        call = threads.submit(http_post, f"{url}/modules/m/migrate", timeout=30, headers=forged)
        eventually(lambda: sql(SLEEPING))
        process.popen.send_signal(signal.SIGTERM)
        response = call.result()
    assert (response.status_code, response.json()["code"]) == (503, "shutting_down")
    assert "retry-after" in response.headers
    process.wait()
    assert "Traceback" not in process.err
    assert sql("SELECT address FROM pgdbm_service.audit")[0]["address"] == "127.0.0.1"
    assert sql("SELECT to_regclass('m.t') AS t")[0]["t"] is None
    assert [row["filename"] for row in sql("SELECT filename FROM m.schema_migrations")] == ["001_a.sql"]


def _check_that_only_loopback_is_served(port: str) -> None:
    """uvicorn itself was started on all addresses, which the settings do not show."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return  # This machine has only a loopback address.
        other: str = probe.getsockname()[0]
    if not other.startswith("127."):
        refused = http_get(f"http://{other}:{port}/modules", headers={"Host": "127.0.0.1"})
        assert (refused.status_code, refused.json()["code"]) == (403, "not_loopback")


def test_the_embedded_server_starts_and_stops_with_the_service(
    launch: Callable[..., Any], repo: Any, tmp_path: Path
) -> None:
    repo.write("orders", _001_a="SELECT 1")
    data_dir = tmp_path / "data"
    for number in (signal.SIGINT, signal.SIGTERM):
        process = launch(PGDBM_DATA_DIR=str(data_dir))
        url = process.url()
        assert "data" in process.out
        assert http_post(f"{url}/migrate").status_code == 200
        if number == signal.SIGTERM:
            _check_that_no_other_starts(launch, data_dir)
        process.popen.send_signal(number)
        assert process.wait() == 0
        assert "Traceback" not in process.err
        assert not (data_dir / "pgdata" / "postmaster.pid").exists()
    log = (data_dir / "server.log").read_text()
    assert "database system is shut down" in log
    assert "not properly shut down" not in log


def _check_that_no_other_starts(launch: Callable[..., Any], data_dir: Path) -> None:
    other = launch(PGDBM_DATA_DIR=str(data_dir))
    assert other.wait() == 2
    assert "Traceback" not in other.err
    last = other.err.splitlines()[-1]
    assert "DATABASE_URL" in last
    assert "data" in last


def test_a_missing_embedded_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match="DATABASE_URL"):
        read_settings({})


def _answers(url: str) -> bool:
    try:
        return http_get(f"{url}/health/ready").status_code == 200
    except httpx2.TransportError:
        return False
