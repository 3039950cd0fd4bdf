"""docker-compose.yml, started by a container engine: ``make compose-test``."""

from __future__ import annotations

import os
import shlex
import subprocess
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.service.running_service import bearer, http_get, http_post
from tests.support.programs import free_port
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
COMPOSE = shlex.split(os.environ.get("PGDBM_TEST_COMPOSE", ""))
pytestmark = pytest.mark.skipif(not COMPOSE, reason="make compose-test starts the file and runs these tests")
DEADLINE_S = 240


class Project:
    """A project of compose, on ports of its own."""

    def __init__(self, **variables: str) -> None:
        self.name = f"pgdbm-test-{uuid.uuid4().hex[:8]}"
        self._ports = {name: free_port() for name in ("PGDBM_HTTP_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT")}
        self._environment = os.environ | {name: str(port) for name, port in self._ports.items()} | variables
        self.url = f"http://127.0.0.1:{self._ports['PGDBM_HTTP_PORT']}"
        self.prometheus = f"http://127.0.0.1:{self._ports['PROMETHEUS_PORT']}"

    def __call__(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*COMPOSE, "--project-name", self.name, *arguments],
            cwd=ROOT,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done


@contextmanager
def up(*services: str, profile: str = "migrate", **variables: str) -> Iterator[Project]:
    project = Project(**variables)
    try:
        project("--profile", profile, "up", "--no-build", "--wait", "pgdbm", *services)
        yield project
    finally:
        project("--profile", profile, "down", "--volumes", "--timeout", "20", check=False)


def states(project: Project, **options: Any) -> set[str]:
    return {module["state"] for module in http_get(f"{project.url}/modules", **options).json()["items"]}


def test_up_to_a_migrated_module() -> None:
    with up() as project:
        assert states(project) == {"pending"}
        first = project("run", "--rm", "migrate")
        assert "orders: success" in first.stdout
        assert states(project) == {"up_to_date"}
        again = project("run", "--rm", "migrate")
        assert "orders: up_to_date, 0 applied" in again.stdout


def test_authentication_by_one_variable() -> None:
    with up(PGDBM_AUTH="tokens") as project:
        assert http_get(f"{project.url}/modules").status_code == 401
        created = project("exec", "-T", "pgdbm", "pgdbm", "token", "create", "test", "--scope", "admin")
        token = created.stdout.strip()
        assert states(project, headers=bearer(token)) == {"pending"}
        refused = project("run", "--rm", "migrate", check=False)
        assert (refused.returncode, "error: " in refused.stderr) == (1, True)
        assert "orders: success" in project("run", "--rm", "--env", f"PGDBM_TOKEN={token}", "migrate").stdout


def test_through_pgbouncer() -> None:
    with up("pgbouncer", profile="pgbouncer", PGDBM_DATABASE_HOST="pgbouncer") as project:
        assert http_post(f"{project.url}/modules/identity/migrate", timeout=60).json()["status"] == "success"
        assert "pgbouncer" in project("logs", "pgdbm").stdout


def test_prometheus_scrapes_the_service() -> None:
    with up("prometheus", profile="observability") as project:
        query = {"query": 'pgdbm_ready{namespace="compose", job="pgdbm"}'}

        def value() -> Any:
            try:
                found = http_get(f"{project.prometheus}/api/v1/query", params=query).json()["data"]["result"]
            except OSError:
                return None
            return [one["value"][1] for one in found]

        eventually(lambda: value() == ["1"])
        groups = http_get(f"{project.prometheus}/api/v1/rules").json()["data"]["groups"]
        assert {rule["name"] for group in groups for rule in group["rules"]} >= {"PgdbmRunBlocked", "PgdbmNotReady"}
