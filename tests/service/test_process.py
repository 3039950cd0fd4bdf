"""``python -m pgdbm_service`` as a process: its settings, its banner, its end."""

from __future__ import annotations

import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from pgdbm_service.settings import Settings, SettingsError, read_settings, unknown_variables, variable_of

from .running import http_get, http_post

if TYPE_CHECKING:
    from collections.abc import Callable

SLEEPING = "SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
URL = "postgresql://u:hunter2@127.0.0.1:5432/x"


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"PGDBM_PORT": "eighty"}, "PGDBM_PORT"),
        ({"PGDBM_PORT": "70000"}, "PGDBM_PORT"),
        ({"PGDBM_MAX_CONNECTIONS": "2"}, "PGDBM_MAX_CONNECTIONS"),
        ({"PGDBM_MIN_CONNECTIONS": "11"}, "PGDBM_MIN_CONNECTIONS"),
        ({"PGDBM_DATABASE_TIMEOUT_S": "0"}, "PGDBM_DATABASE_TIMEOUT_S"),
        ({"PGDBM_DATABASE_TIMEOUT_S": "nan"}, "PGDBM_DATABASE_TIMEOUT_S"),
        ({"PGDBM_SHUTDOWN_GRACE_S": "-1"}, "PGDBM_SHUTDOWN_GRACE_S"),
        ({"PGDBM_LOG_LEVEL": "loud"}, "PGDBM_LOG_LEVEL"),
        ({"PGDBM_LOG_FORMAT": "xml"}, "PGDBM_LOG_FORMAT"),
        ({"PGDBM_ALLOW_UNAUTHENTICATED": "perhaps"}, "PGDBM_ALLOW_UNAUTHENTICATED"),
        ({"PGDBM_MIGRATIONS_REPO": "/nowhere/at/all"}, "PGDBM_MIGRATIONS_REPO"),
        ({"PGDBM_HOST": "0.0.0.0"}, "PGDBM_ALLOW_UNAUTHENTICATED"),
        ({"PGDBM_HOST": "::"}, "PGDBM_ALLOW_UNAUTHENTICATED"),
        ({"PGDBM_HOST": "example.com"}, "PGDBM_HOST"),
        ({"DATABASE_URL": "mysql://u:hunter2@h/x"}, "DATABASE_URL"),
        ({"DATABASE_URL": "postgresql://u:hunter2@h:port/x"}, "DATABASE_URL"),
        ({"DATABASE_URL": "host=h password=hunter2"}, "DATABASE_URL"),
    ],
)
def test_bad_settings_are_one_line(variables: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings({"DATABASE_URL": URL} | variables)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


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


def test_defaults_and_values() -> None:
    settings = read_settings({"DATABASE_URL": URL, "PGDBM_PORT": "", "PGDBM_UNRELATED": "1"})
    assert (settings.host, settings.port, settings.max_connections) == ("127.0.0.1", 8000, 10)
    assert settings.migrations_repo == Path("migrations_repo")
    changed = read_settings(
        {"DATABASE_URL": URL, "PGDBM_HOST": "0.0.0.0", "PGDBM_ALLOW_UNAUTHENTICATED": "True", "PGDBM_PORT": "0"}
    )
    assert (changed.host, changed.port, changed.loopback_only) == ("0.0.0.0", 0, False)
    assert list(unknown_variables({"PGDBM_PORT": "1", "PGDBM_PROT": "1", "OTHER": ""})) == ["PGDBM_PROT"]
    assert variable_of("database_url") == "DATABASE_URL"
    assert {variable_of(field) for field in Settings.__struct_fields__} >= {"PGDBM_HOST", "PGDBM_SHUTDOWN_GRACE_S"}


def test_banner_and_a_clean_end_after_what_runs(
    launch: Callable[..., Any], repo: Any, database: str, sql: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    repo.write("m", _001_a="CREATE TABLE {{tables.t}} (id integer); SELECT pg_sleep(1)")
    repo.write("orders", _001_a="SELECT 1")
    process = launch(DATABASE_URL=database)
    url = process.url()
    commands = [line.strip() for line in process.out.splitlines() if line.strip().startswith("curl")]
    assert commands == [
        f"curl -s {url}/modules",
        f"curl -s -X POST {url}/migrate",
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


def test_port_taken(launch: Callable[..., Any], database: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = launch(DATABASE_URL=database, PGDBM_PORT=port)
        assert process.wait() == 1
    assert process.err.count("\n") == 1
    assert port in process.err


@pytest.mark.parametrize("with_factory", [False, True])
def test_after_the_grace_period_it_is_cut_off(
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
    """Where uvicorn was told to listen on all addresses; the settings know nothing of that."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return  # This machine has no address but loopback.
        other: str = probe.getsockname()[0]
    if not other.startswith("127."):
        refused = http_get(f"http://{other}:{port}/modules", headers={"Host": "127.0.0.1"})
        assert (refused.status_code, refused.json()["code"]) == (403, "not_loopback")


def test_embedded_server_starts_and_stops_with_the_service(
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


def test_embedded_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match="DATABASE_URL"):
        read_settings({})


def _answers(url: str) -> bool:
    try:
        return http_get(f"{url}/health/ready").status_code == 200
    except httpx.TransportError:
        return False
