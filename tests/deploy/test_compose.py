"""docker-compose.yml, read as data and compared with what its comments state."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import yaml

from pgdbm_service.settings import read_settings, unknown_variables

if TYPE_CHECKING:
    from tests.service.running_service import Repo, RunningService

ROOT = Path(__file__).parents[2]
Service = dict[str, Any]
_VARIABLE = re.compile(r"\$\{(\w+):-(.*?)\}")


def interpolated(value: Any, **environment: str) -> Any:
    """``value`` with the variables of ``environment``, and their defaults."""
    if isinstance(value, dict):
        return {name: interpolated(one, **environment) for name, one in value.items()}
    if isinstance(value, list):
        return [interpolated(one, **environment) for one in value]
    if isinstance(value, str):
        return _VARIABLE.sub(lambda found: environment.get(found[1]) or found[2], value)
    return value


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return parsed


@pytest.fixture
def pgdbm(compose: dict[str, Any]) -> Service:
    service: Service = compose["services"]["pgdbm"]
    return service


@pytest.fixture
def postgres(compose: dict[str, Any]) -> Service:
    service: Service = compose["services"]["postgres"]
    return service


def test_every_published_port_is_on_loopback(compose: dict[str, Any]) -> None:
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_the_service_accepts_the_settings(pgdbm: Service, tmp_path: Path) -> None:
    environment = interpolated(pgdbm["environment"])
    # The folder exists only in the container.
    settings = read_settings({**environment, "PGDBM_MIGRATIONS_REPO": str(tmp_path)})
    assert settings.port == 8000
    assert settings.shutdown_grace_s < int(pgdbm["stop_grace_period"].removesuffix("s"))
    assert list(unknown_variables(environment)) == []


def test_serving_without_auth_is_allowed_explicitly_in_the_file(pgdbm: Service) -> None:
    """Without it the service refuses to listen on the address that a published port needs."""
    assert pgdbm["environment"]["PGDBM_HOST"] == "0.0.0.0"
    assert pgdbm["environment"]["PGDBM_ALLOW_UNAUTHENTICATED"] == "true"
    assert pgdbm["environment"]["PGDBM_AUTH"] == "${PGDBM_AUTH:-none}"


def test_the_service_waits_for_a_database_that_answers(pgdbm: Service, postgres: Service) -> None:
    assert pgdbm["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert postgres["healthcheck"]["test"][:2] == ["CMD", "pg_isready"]
    # The temporary server of the image's first start listens on its socket alone.
    assert "--host=127.0.0.1" in postgres["healthcheck"]["test"]


def test_postgres_and_the_service_use_the_same_credentials(pgdbm: Service, postgres: Service) -> None:
    there = interpolated(postgres["environment"])
    expected = (
        f"postgresql://{there['POSTGRES_USER']}:{there['POSTGRES_PASSWORD']}@postgres:5432/{there['POSTGRES_DB']}"
    )
    assert interpolated(pgdbm["environment"])["DATABASE_URL"] == expected


def test_the_data_outlives_the_container(compose: dict[str, Any], postgres: Service) -> None:
    """The image of 18 keeps its data below /var/lib/postgresql, and refuses a volume at …/data."""
    assert interpolated(postgres["image"]) == "postgres:18"
    assert postgres["volumes"] == ["postgres_data:/var/lib/postgresql"]
    assert "postgres_data" in compose["volumes"]


def test_migrations_are_mounted_read_only_at_the_repository_path(pgdbm: Service) -> None:
    [mount] = pgdbm["volumes"]
    assert mount["source"] == "./migrations_repo"
    assert mount["target"] == pgdbm["environment"]["PGDBM_MIGRATIONS_REPO"]
    assert mount["read_only"] is True


def test_the_container_has_no_more_than_it_needs(pgdbm: Service) -> None:
    assert pgdbm["read_only"] is True
    assert pgdbm["tmpfs"] == ["/tmp"]
    assert pgdbm["cap_drop"] == ["ALL"]
    assert pgdbm["security_opt"] == ["no-new-privileges:true"]


def test_healthy_means_ready(pgdbm: Service) -> None:
    kind, python, option, program = pgdbm["healthcheck"]["test"]
    assert (kind, python, option) == ("CMD", "python", "-c")
    ast.parse(program)
    assert "/health/ready" in program


def test_authentication_takes_one_variable(compose: dict[str, Any], tmp_path: Path) -> None:
    environment = interpolated(compose, PGDBM_AUTH="tokens")["services"]["pgdbm"]["environment"]
    settings = read_settings({**environment, "PGDBM_MIGRATIONS_REPO": str(tmp_path)})
    assert (settings.auth, settings.loopback_only) == ("tokens", False)
    assert (
        read_settings(
            {**interpolated(compose)["services"]["pgdbm"]["environment"], "PGDBM_MIGRATIONS_REPO": str(tmp_path)}
        ).auth
        == "none"
    )


def test_the_direct_address_bypasses_pgbouncer(compose: dict[str, Any]) -> None:
    services = interpolated(compose, PGDBM_DATABASE_HOST="pgbouncer")["services"]
    given = services["pgdbm"]["environment"]
    assert urlsplit(given["DATABASE_URL"]).hostname == "pgbouncer"
    assert urlsplit(given["PGDBM_DIRECT_URL"]).hostname == "postgres"
    pooler = services["pgbouncer"]["environment"]
    assert (pooler["POOL_MODE"], pooler["DB_HOST"]) == ("transaction", "postgres")
    assert (pooler["DB_USER"], pooler["DB_PASSWORD"]) == (
        urlsplit(given["DATABASE_URL"]).username,
        urlsplit(given["DATABASE_URL"]).password,
    )
    # What the service sets for a session.
    assert {"jit", "statement_timeout", "lock_timeout"} <= set(pooler["IGNORE_STARTUP_PARAMETERS"].split(","))


def test_what_is_optional_has_a_profile(compose: dict[str, Any]) -> None:
    profiles = {name: service.get("profiles") for name, service in compose["services"].items()}
    assert profiles == {
        "postgres": None,
        "pgdbm": None,
        "migrate": ["migrate"],
        "pgbouncer": ["pgbouncer"],
        "prometheus": ["observability"],
        "grafana": ["observability"],
    }


@pytest.mark.parametrize("fails", [False, True], ids=["succeeds", "fails"])
def test_the_one_shot_migrates_every_module(
    compose: dict[str, Any], service: RunningService, repo: Repo, fails: bool
) -> None:
    """Its program, run as it is, with the address of a service in place of the name on the project's network."""
    repo.write("one", _001_a="SELECT 1")
    repo.write("two", _001_a="SELECT 1 / 0" if fails else "SELECT 1")
    service.sync()
    migrate = compose["services"]["migrate"]
    (program,) = migrate["command"]
    assert migrate["entrypoint"] == ["python", "-c"]
    environment = interpolated(compose)["services"]["migrate"]["environment"]
    done = subprocess.run(
        [sys.executable, "-c", program.replace("http://pgdbm:8000", service.url)],
        env={**os.environ, **environment, "PYTHONPATH": str(ROOT / "app")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == int(fails), done.stderr
    if fails:
        assert done.stderr.startswith("error: ")
        assert "division by zero" in done.stderr
    else:
        assert done.stdout.splitlines() == ["one: success, 1 applied", "two: success, 1 applied"]


def test_prometheus_scrapes_the_service_and_has_the_alerts(compose: dict[str, Any], promtool: str) -> None:
    config = ROOT / "compose" / "prometheus.yml"
    checked = subprocess.run([promtool, "check", "config", str(config)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    (job,) = yaml.safe_load(config.read_text())["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    host, _, port = target.partition(":")
    assert compose["services"][host]["environment"]["PGDBM_PORT"] == port
    mounted = {volume.split(":")[0]: volume.split(":")[1] for volume in compose["services"]["prometheus"]["volumes"]}
    assert mounted["./compose/alerts.yml"] == "/etc/prometheus/alerts.yml"


def test_the_rule_file_is_current() -> None:
    """``python .ci/alert_rules.py > compose/alerts.yml`` writes it."""
    made = subprocess.run([sys.executable, ROOT / ".ci" / "alert_rules.py"], capture_output=True, text=True, check=True)
    assert (ROOT / "compose" / "alerts.yml").read_text() == made.stdout


def test_grafana_has_the_dashboard_and_its_data_source(compose: dict[str, Any]) -> None:
    grafana = compose["services"]["grafana"]
    mounts = dict(volume.split(":")[:2] for volume in grafana["volumes"])
    folder = ROOT / "compose" / "grafana"
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert mounts["./compose/grafana/datasources"] == "/etc/grafana/provisioning/datasources"
    (provider,) = yaml.safe_load((folder / "dashboards" / "pgdbm.yaml").read_text())["providers"]
    assert mounts["./helm/pgdbm/dashboards"] == provider["options"]["path"]
    assert grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"].startswith(provider["options"]["path"])


def test_every_mounted_path_exists(compose: dict[str, Any]) -> None:
    sources = [
        volume["source"] if isinstance(volume, dict) else volume.split(":")[0]
        for service in compose["services"].values()
        for volume in service.get("volumes", [])
    ]
    paths = [source for source in sources if source.startswith("./")]
    assert len(paths) >= 6
    assert all((ROOT / path).exists() for path in paths)


@pytest.mark.parametrize("profile", ["", "migrate", "pgbouncer", "observability"])
def test_compose_accepts_the_file(profile: str) -> None:
    command = next((one for one in (["docker", "compose"], ["docker-compose"]) if is_compose_2(one)), None)
    if command is None:
        pytest.skip("there is no docker compose of version 2")
    options = ["--profile", profile] if profile else []
    done = subprocess.run([*command, *options, "config", "--quiet"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def is_compose_2(command: list[str]) -> bool:
    if shutil.which(command[0]) is None:
        return False
    asked = subprocess.run([*command, "version", "--short"], capture_output=True, text=True)
    return asked.returncode == 0 and asked.stdout.removeprefix("v").startswith("2")
