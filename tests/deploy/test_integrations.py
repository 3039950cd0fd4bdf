"""Each integration, unchanged, against real services.

With a success, a failure, a long migration, a replica that is killed during the call, and a proxy that closes idle
connections.

Durations are scaled: a migration of two minutes takes PGDBM_INTEGRATION_S (2) here, and the proxy closes connections
that are idle for half of that. ``make integrations-test`` runs them at their full length.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.support.front_proxy import FrontProxy
from tests.support.waiting import eventually

from .pipelines import INTEGRATIONS, GitHubJob, Outcome, gitlab_job
from .pods import Cluster, JobResult, environment_of_commands

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.service.conftest import Process
    from tests.service.running_service import RunningService

LONG_S = float(os.environ.get("PGDBM_INTEGRATION_S", "2"))
# The proxies close a connection after half the time that the run takes.
IDLE_S = LONG_S / 2
# A quarter of the proxy's limit: the default is 15 s for a limit of a minute.
KEEP_ALIVE_S = IDLE_S / 4
SHARED = pytest.mark.settings(auth="tokens", auth_failures_per_minute=10000, stream_keep_alive_s=KEEP_ALIVE_S)
SCOPES = ("read", "register:orders", "migrate:orders")
DEADLINE_S = 60 + 4 * LONG_S
ADDRESS = "http://pgdbm.pgdbm.svc:8000"
TABLE = "CREATE TABLE {{tables.orders}} (id bigint PRIMARY KEY);\n"
LONG = f"SELECT pg_sleep({LONG_S});\n{TABLE}"
ASLEEP = "SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
APPLIED = "SELECT filename FROM orders.schema_migrations ORDER BY filename"

Result = Outcome | JobResult
Migrate = Callable[["Fleet", dict[str, str], Path], Result] if TYPE_CHECKING else Any


@dataclass
class Fleet:
    """Replicas behind a proxy, which prefers the first, and a token for the module orders."""

    replicas: list[str]
    url: str
    token: str
    helm: str


def kubernetes(fleet: Fleet, files: dict[str, str], folder: Path) -> Result:
    cluster = of_fleet(fleet, folder)
    cluster.config_maps["orders-migrations"] = files
    return cluster.run_job(yaml.safe_load((INTEGRATIONS / "kubernetes" / "migrate.yaml").read_text()))


def argocd(fleet: Fleet, files: dict[str, str], folder: Path) -> Result:
    """The hooks in the order of their waves."""
    cluster = of_fleet(fleet, folder)
    hooks = list(yaml.safe_load_all((INTEGRATIONS / "argocd" / "presync.yaml").read_text()))
    assert all(hook["metadata"]["annotations"]["argocd.argoproj.io/hook"] == "PreSync" for hook in hooks)
    config, job = sorted(
        hooks, key=lambda hook: int(hook["metadata"]["annotations"].get("argocd.argoproj.io/sync-wave", "0"))
    )
    cluster.apply(config | {"data": files})
    return cluster.run_job(job)


def helm(fleet: Fleet, files: dict[str, str], folder: Path) -> Result:
    """The hooks of the example chart in the order of their weights."""
    cluster = of_fleet(fleet, folder)
    config, job = sorted(
        hooks_of(example(fleet.helm, files, folder)),
        key=lambda hook: int(hook["metadata"]["annotations"]["helm.sh/hook-weight"]),
    )
    cluster.apply(config)
    return cluster.run_job(job)


def shell(fleet: Fleet, files: dict[str, str], folder: Path) -> Result:
    script = INTEGRATIONS / "shell" / "pgdbm-deploy.sh"
    checkout(folder, files)
    done = subprocess.run(
        ["/bin/sh", script, "migrate", "orders", "migrations"],
        env=environment_of_commands(folder / "bin")
        | {"PGDBM_SERVER": fleet.url, "PGDBM_TOKEN": fleet.token, "PGDBM_PAUSE_S": "0"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    return Outcome([done.returncode], done.stdout + done.stderr)


def github(fleet: Fleet, files: dict[str, str], folder: Path) -> Result:
    checkout(folder, files)
    inputs = {"mode": "migrate", "module": "orders", "server": fleet.url, "token": fleet.token}
    job = GitHubJob(inputs, environment_of_commands(folder / "bin"), folder, {"event_name": "push"})
    return job.run(DEADLINE_S)


def gitlab(fleet: Fleet, files: dict[str, str], folder: Path) -> Result:
    checkout(folder, files)
    environment = environment_of_commands(folder / "bin") | {"PGDBM_TOKEN": fleet.token}
    return gitlab_job("migrate", {"module": "orders", "server": fleet.url}, environment, folder, DEADLINE_S)


ALL = {"kubernetes": kubernetes, "argocd": argocd, "helm": helm, "shell": shell, "github": github, "gitlab": gitlab}


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def of_fleet(fleet: Fleet, folder: Path) -> Cluster:
    return Cluster(
        folder,
        secrets={"orders-pgdbm": {"token": fleet.token}},
        addresses={ADDRESS: fleet.url},
        service_account_token=fleet.token,
        seconds=DEADLINE_S,
    )


def checkout(folder: Path, files: dict[str, str]) -> None:
    (folder / "migrations").mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / "migrations" / name).write_text(content)


def example(program: str, files: dict[str, str], folder: Path, *options: str) -> list[dict[str, Any]]:
    """The objects of the example chart with these migrations."""
    charts = folder / "helm"
    if not charts.exists():
        shutil.copytree(INTEGRATIONS / "helm", charts)
        shutil.rmtree(charts / "example" / "migrations")
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder)}
        built = subprocess.run(
            [program, "dependency", "build", charts / "example"], env=environment, capture_output=True, text=True
        )
        assert built.returncode == 0, built.stderr
    checkout(charts / "example", files)
    done = subprocess.run(
        [program, "template", "orders", charts / "example", *options],
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def hooks_of(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    hooks = [one for one in objects if "helm.sh/hook" in one["metadata"].get("annotations", {})]
    assert {one["metadata"]["annotations"]["helm.sh/hook"] for one in hooks} == {"pre-install,pre-upgrade"}
    return hooks


@pytest.fixture
def fleet(service: RunningService, make_token: Callable[..., str], helm: str) -> Iterator[Fleet]:
    """The shared service, which needs the settings :data:`SHARED`: a test that kills nothing needs no other replica."""
    with FrontProxy([port_of(service.url)]) as proxy:
        yield Fleet([service.url], proxy.url, make_token(*SCOPES), helm)


@pytest.fixture
def replicas(fork: Callable[..., Process], database: str) -> list[Process]:
    variables = {
        "DATABASE_URL": database,
        "PGDBM_AUTH": "tokens",
        "PGDBM_TAKEOVER_S": "1",
        "PGDBM_STREAM_KEEP_ALIVE_S": str(KEEP_ALIVE_S),
    }
    return [fork(**variables) for _ in range(2)]


@pytest.fixture
def fleet_of_two(replicas: list[Process], make_token: Callable[..., str], helm: str) -> Iterator[Fleet]:
    urls = [one.url() for one in replicas]
    with FrontProxy([port_of(url) for url in urls]) as proxy:
        yield Fleet(urls, proxy.url, make_token(*SCOPES), helm)


@pytest.fixture(params=ALL)
def migrate(request: pytest.FixtureRequest) -> Migrate:
    found: Migrate = ALL[request.param]
    return found


@SHARED
def test_success_and_again(migrate: Migrate, fleet: Fleet, tmp_path: Path, sql: Callable[..., Any]) -> None:
    first = migrate(fleet, {"001_orders.sql": TABLE}, tmp_path)
    assert first.codes == [0], first.log
    assert [row["filename"] for row in sql(APPLIED)] == ["001_orders.sql"]
    again = migrate(fleet, {"001_orders.sql": TABLE}, tmp_path)
    assert again.codes == [0], again.log
    assert "up to date" in again.log


@SHARED
def test_failure(migrate: Migrate, fleet: Fleet, tmp_path: Path, sql: Callable[..., Any]) -> None:
    """Without another attempt, which would fail in the same way; the log names the file and the line."""
    files = {"001_orders.sql": TABLE, "002_wrong.sql": "SELECT 1;\nSELECT 1 / 0;\n"}
    ended = migrate(fleet, files, tmp_path)
    assert ended.codes == [1], ended.log
    assert "002_wrong.sql:2:1: statement 2: division by zero" in ended.log
    assert [row["filename"] for row in sql(APPLIED)] == ["001_orders.sql"]


@SHARED
def test_a_migration_that_takes_long_behind_a_proxy_that_cuts_idle_connections(
    migrate: Migrate, fleet: Fleet, tmp_path: Path, sql: Callable[..., Any]
) -> None:
    with FrontProxy([port_of(fleet.replicas[0])], idle_s=IDLE_S) as proxy:
        fleet.url = proxy.url
        ended = migrate(fleet, {"001_orders.sql": LONG}, tmp_path)
    assert ended.codes == [0], ended.log
    assert [row["filename"] for row in sql(APPLIED)] == ["001_orders.sql"]


@pytest.mark.timeout(300 + 3 * LONG_S)
def test_a_replica_is_killed_during_the_call(
    migrate: Migrate, fleet_of_two: Fleet, replicas: list[Process], tmp_path: Path, sql: Callable[..., Any]
) -> None:
    results: list[Result] = []
    call = threading.Thread(target=lambda: results.append(migrate(fleet_of_two, {"001_orders.sql": LONG}, tmp_path)))
    call.start()
    eventually(lambda: sql(ASLEEP) or not call.is_alive())
    replicas[0].popen.kill()
    call.join(DEADLINE_S)
    (ended,) = results
    assert ended.codes == [0], ended.log
    assert [row["filename"] for row in sql(APPLIED)] == ["001_orders.sql"]
    assert sql("SELECT to_regclass('orders.orders') IS NOT NULL AS there")[0]["there"]


@SHARED
def test_a_wrong_token(migrate: Migrate, fleet: Fleet, tmp_path: Path) -> None:
    """A wrong token does not cause another attempt."""
    fleet.token = "wrong"
    ended = migrate(fleet, {"001_orders.sql": TABLE}, tmp_path)
    assert ended.codes == [5], ended.log


def test_the_proxy_closes_idle_connections() -> None:
    """Without it, the test above would show nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server, FrontProxy([server.getsockname()[1]], idle_s=0.1) as proxy:
        with socket.create_connection(("127.0.0.1", port_of(proxy.url)), timeout=30) as client:
            assert client.recv(1) == b""
        eventually(lambda: proxy.cut == 1)
