"""The image, built and run by a container engine: ``make image-test``."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from pgdbm.version import __version__
from tests.service.running_service import http_get, http_post
from tests.support.programs import free_port
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

IMAGE = os.environ.get("PGDBM_TEST_IMAGE", "")
pytestmark = pytest.mark.skipif(not IMAGE, reason="make image-test builds the image and runs these tests")

MOST_MB = 110
DEADLINE_S = 120
# The arguments of the chart on OpenShift.
RESTRICTED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
ANY_USER = ("--user", "1000680000:0")
TABLE = "CREATE TABLE {{tables.t}} (id integer);\n"
ASLEEP = "SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
APPLIED = "SELECT filename FROM shop.schema_migrations"


def docker(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=DEADLINE_S)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def run(*command: str, options: tuple[str, ...] = (), check: bool = True) -> subprocess.CompletedProcess[str]:
    return docker("run", "--rm", "--network", "host", *RESTRICTED, *ANY_USER, *options, IMAGE, *command, check=check)


def inspected() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(docker("image", "inspect", IMAGE).stdout)[0]
    return found


@dataclass
class Container:
    name: str
    url: str

    def log(self) -> str:
        done = docker("logs", self.name)
        return done.stdout + done.stderr

    def exit_code(self) -> int:
        return int(docker("wait", self.name).stdout)

    def health(self) -> str:
        return docker("inspect", "--format", "{{.State.Health.Status}}", self.name).stdout.strip()

    def is_ready(self) -> bool:
        with contextlib.suppress(Exception):
            return http_get(f"{self.url}/health/ready").status_code == 200
        return False


@pytest.fixture
def serve(database: str, repo: Any) -> Iterator[Callable[..., Container]]:
    """``serve(**variables)``: the service in a container, ready, with the repository mounted."""
    started = []
    repo.path.chmod(0o755)
    for folder in repo.path.parents[:2]:
        folder.chmod(0o755)

    def serve(**variables: str) -> Container:
        port = free_port()
        given = {"DATABASE_URL": database, "PGDBM_HOST": "127.0.0.1", "PGDBM_PORT": str(port), **variables}
        options = [word for name, value in given.items() for word in ("--env", f"{name}={value}")]
        options += ["--volume", f"{repo.path}:/migrations_repo:ro", "--health-interval", "1s"]
        name = f"pgdbm-test-{uuid.uuid4().hex[:8]}"
        docker("run", "--detach", "--name", name, "--network", "host", *RESTRICTED, *ANY_USER, *options, IMAGE)
        container = Container(name, f"http://127.0.0.1:{port}")
        started.append(container)
        eventually(container.is_ready)
        return container

    yield serve
    for container in started:
        docker("rm", "--force", container.name)


def test_the_size() -> None:
    """What the Dockerfile adds to its base."""
    sizes = docker("history", "--human=false", "--format", "{{.Size}}", IMAGE).stdout.split()
    layers = [int(size) for size in sizes]
    total = int(inspected()["Size"])
    # Newest first; the layers below the first command of the Dockerfile are the base.
    created = docker("history", "--human=false", "--no-trunc", "--format", "{{.CreatedBy}}", IMAGE).stdout.splitlines()
    last = max(n for n, text in enumerate(created) if "groupadd" in text)
    own = sum(layers[: last + 1]) / 1e6
    print(f"\nthe image has {total / 1e6:.0f} MB, {own:.0f} MB of them its own")
    assert own < MOST_MB


def test_the_labels_and_the_user() -> None:
    config = inspected()["Config"]
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
    assert {"title", "description", "licenses", "version", "revision", "source"} <= set(labels)
    assert labels["revision"] in {value.partition("=")[2] for value in config["Env"]}
    assert config["User"] == "10001:10001"
    assert config["Healthcheck"]


def test_nothing_is_in_it_that_is_not_needed() -> None:
    program = """
import importlib.util, os, sys
print(*sorted(os.listdir('/opt/pgdbm/bin')))
unneeded = ('pip', 'setuptools', 'rich', 'faker', 'polyfactory', 'pytest')
print(*[name for name in unneeded if importlib.util.find_spec(name)])
print(os.getuid(), os.listdir('/migrations_repo'))
"""
    shown = run("-c", program, options=("--entrypoint", "python")).stdout.splitlines()
    assert shown == ["pgdbm python python3 python3.13", "", "1000680000 []"]


@pytest.mark.parametrize("command", [("--version",), ("pgdbm", "--version")])
def test_commands(command: tuple[str, ...]) -> None:
    assert run(*command).stdout == f"pgdbm {__version__}\n"
    assert run("--version", options=("--entrypoint", "pgdbm")).stdout == f"pgdbm {__version__}\n"


def test_it_runs_as_any_user_read_only_without_capabilities(
    serve: Callable[..., Container], repo: Any, sql: Callable[..., Any]
) -> None:
    repo.write("shop", _001_a=TABLE)
    container = serve()
    assert http_post(f"{container.url}/modules/shop/migrate", timeout=60).json()["status"] == "success"
    assert [row["filename"] for row in sql(APPLIED)] == ["001_a.sql"]
    version = http_get(f"{container.url}/version").json()
    assert version == {
        "version": __version__,
        "revision": inspected()["Config"]["Labels"]["org.opencontainers.image.revision"],
    }
    eventually(lambda: container.health() == "healthy")
    lines = [json.loads(line) for line in container.log().splitlines()]
    assert {"listening", "connected", "migrated"} & {line["event"] for line in lines}


def test_sigterm_waits_for_a_running_migration(
    serve: Callable[..., Container], repo: Any, sql: Callable[..., Any]
) -> None:
    repo.write("shop", _001_a="SELECT pg_sleep(3);\n" + TABLE)
    container = serve()
    http_post(f"{container.url}/modules/shop/migrate", json={"wait_s": 0}, timeout=60)
    eventually(lambda: sql(ASLEEP))
    docker("stop", "--time", "60", container.name)
    assert container.exit_code() == 0, container.log()
    assert [row["filename"] for row in sql(APPLIED)] == ["001_a.sql"]


def test_sigterm_rolls_back_what_does_not_finish_in_time(
    serve: Callable[..., Container], repo: Any, sql: Callable[..., Any]
) -> None:
    repo.write("shop", _001_a=TABLE + "SELECT pg_sleep(600);\n")
    container = serve(PGDBM_SHUTDOWN_GRACE_S="0")
    http_post(f"{container.url}/modules/shop/migrate", json={"wait_s": 0}, timeout=60)
    eventually(lambda: sql(ASLEEP))
    docker("stop", "--time", "60", container.name)
    assert container.exit_code() == 0, container.log()
    eventually(lambda: not sql(ASLEEP))
    assert sql("SELECT to_regclass('shop.t') IS NULL AS gone")[0]["gone"]


def test_deploy_wait_and_migrate_apply_as_entry_commands(
    serve: Callable[..., Container], database: str, tmp_path: Path, sql: Callable[..., Any]
) -> None:
    container = serve()
    files = tmp_path / "files"
    files.mkdir()
    (files / "001_a.sql").write_text(TABLE)
    files.chmod(0o755)
    tmp_path.chmod(0o755)
    mounted = ("--volume", f"{files}:/migrations:ro", "--env", f"PGDBM_SERVER={container.url}")
    deployed = run("pgdbm", "deploy", "shop", "--dir", "/migrations", options=mounted)
    assert "shop: 1 applied" in deployed.stdout
    waited = run("pgdbm", "wait", "shop", "--require", "001", options=mounted)
    assert "is ready at version 001" in waited.stdout
    (files / "002_wrong.sql").write_text("SELECT 1 / 0;\n")
    assert run("deploy", "shop", "--dir", "/migrations", options=mounted, check=False).returncode == 1
    (files / "002_wrong.sql").write_text(TABLE.replace(".t}}", ".u}}"))
    direct = (*mounted, "--env", f"DATABASE_URL={database}")
    arguments = ("--dir", "/migrations", "--module", "shop", "--schema", "shop")
    applied = run("pgdbm", "migrate", "apply", *arguments, options=direct)
    assert "002_wrong.sql" in applied.stdout
    assert [row["filename"] for row in sql(f"{APPLIED} ORDER BY filename")] == ["001_a.sql", "002_wrong.sql"]
