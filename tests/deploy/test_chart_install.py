"""helm install, upgrade, rollback, test and uninstall, against an API server.

The server is a substitute, which stores what helm sends and checks it strictly: no package has a real one.
"""

from __future__ import annotations

import asyncio
import subprocess
import uuid
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg
import pytest
import yaml

from .api_server import ApiServer
from .chart import CHART, EVERYTHING, WITH_SECRET, WITH_URL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .chart import Manifest, Values

    Helm = Callable[..., "subprocess.CompletedProcess[str]"]

TESTED: list[str] = []


@pytest.fixture
def server() -> Iterator[ApiServer]:
    def run_pod(pod: Manifest) -> bool:
        TESTED.append(pod["metadata"]["name"])
        return "fails" not in pod["metadata"]["name"]

    TESTED.clear()
    with ApiServer(run_pod) as server:
        yield server


@pytest.fixture
def releases(database: str) -> Iterator[str]:
    """The storage of helm's releases: the test's database, because for Secrets helm uses protobuf with the API server.

    With a separate user: helm's driver refuses the few rounds with which the tests' passwords are hashed.
    """
    user = f"helm_{uuid.uuid4().hex}"

    async def execute(*statements: str) -> None:
        connection = await asyncpg.connect(database)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(execute("SET scram_iterations = 4096", f"CREATE ROLE {user} SUPERUSER LOGIN PASSWORD 'helm'"))
    parts = urlsplit(database)
    yield f"postgresql://{user}:helm@{parts.hostname}:{parts.port}{parts.path}?sslmode=disable"
    asyncio.run(execute(f"REASSIGN OWNED BY {user} TO CURRENT_USER", f"DROP ROLE {user}"))


@pytest.fixture
def on_cluster(helm: str, server: ApiServer, tmp_path: Path, releases: str) -> Helm:
    config = tmp_path / "kubeconfig"
    config.write_text(server.kubeconfig())
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "KUBECONFIG": str(config),
        "HELM_DRIVER": "sql",
        "HELM_DRIVER_SQL_CONNECTION_STRING": releases,
    }

    def run(*verb: str, values: Values | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [helm, *verb, "--namespace", "orders"]
        if values is not None:
            (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
            # The server validates what it stores.
            command += ["--values", str(tmp_path / "values.yaml"), "--disable-openapi-validation"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    return run


def replicas(server: ApiServer) -> int:
    (deployment,) = server.objects("Deployment").values()
    count: int = deployment["spec"]["replicas"]
    return count


def test_install_upgrade_rollback_test_uninstall(on_cluster: Helm, server: ApiServer) -> None:
    on_cluster("install", "shop", str(CHART), values=WITH_URL)
    assert replicas(server) == 1
    assert "shop-pgdbm" in server.objects("Secret")
    on_cluster("upgrade", "shop", str(CHART), values={**WITH_SECRET, "replicaCount": 3})
    assert replicas(server) == 3
    # The Secret of the URL was removed with the URL.
    assert "shop-pgdbm" not in server.objects("Secret")
    on_cluster("rollback", "shop", "1")
    assert replicas(server) == 1
    assert "shop-pgdbm" in server.objects("Secret")
    assert TESTED == []
    on_cluster("test", "shop")
    assert TESTED == ["shop-pgdbm-test"]
    history = yaml.safe_load(on_cluster("history", "shop", "--output", "yaml").stdout)
    assert [one["status"] for one in history] == ["superseded", "superseded", "deployed"]
    on_cluster("uninstall", "shop")
    assert server.objects("Deployment") == {}
    assert server.objects("Service") == {}


def test_everything_can_be_installed(on_cluster: Helm, server: ApiServer) -> None:
    on_cluster("install", "shop", str(CHART), values=EVERYTHING)
    assert set(server.objects("PodDisruptionBudget")) == {"shop-pgdbm"}


def test_a_failing_test_fails(on_cluster: Helm) -> None:
    on_cluster("install", "fails", str(CHART), values=WITH_SECRET)
    assert on_cluster("test", "fails", check=False).returncode != 0
