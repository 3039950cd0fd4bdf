"""docker-compose.yml, read as data and held to what its comments promise."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pgdbm_service.settings import read_settings, unknown_variables

ROOT = Path(__file__).parents[2]
Service = dict[str, Any]


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


def test_the_service_takes_the_settings(pgdbm: Service, tmp_path: Path) -> None:
    defaults = re.compile(r"\$\{\w+:-(.*?)\}")
    environment = {name: defaults.sub(r"\1", value) for name, value in pgdbm["environment"].items()}
    # The folder is there in the container only.
    settings = read_settings({**environment, "PGDBM_MIGRATIONS_REPO": str(tmp_path)})
    assert settings.port == 8000
    assert settings.shutdown_grace_s < int(pgdbm["stop_grace_period"].removesuffix("s"))
    assert list(unknown_variables(environment)) == []


def test_leave_to_serve_without_auth_is_given_where_one_can_see_it(pgdbm: Service) -> None:
    """Without it the service refuses to listen on the address that a published port needs."""
    assert pgdbm["environment"]["PGDBM_HOST"] == "0.0.0.0"
    assert pgdbm["environment"]["PGDBM_ALLOW_UNAUTHENTICATED"] == "${PGDBM_ALLOW_UNAUTHENTICATED:-true}"
    assert pgdbm["environment"]["PGDBM_AUTH"] == "${PGDBM_AUTH:-none}"


def test_the_service_waits_for_a_database_that_answers(pgdbm: Service, postgres: Service) -> None:
    assert pgdbm["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert postgres["healthcheck"]["test"][:2] == ["CMD", "pg_isready"]
    # The temporary server of the image's first start listens on its socket alone.
    assert "--host=127.0.0.1" in postgres["healthcheck"]["test"]


def test_both_ends_agree_on_the_database(pgdbm: Service, postgres: Service) -> None:
    there = postgres["environment"]
    expected = (
        f"postgresql://{there['POSTGRES_USER']}:{there['POSTGRES_PASSWORD']}@postgres:5432/{there['POSTGRES_DB']}"
    )
    assert pgdbm["environment"]["DATABASE_URL"] == expected


def test_the_data_outlives_the_container(compose: dict[str, Any], postgres: Service) -> None:
    """The image of 18 keeps its data below /var/lib/postgresql, and refuses a volume at …/data."""
    assert postgres["image"] == "postgres:18"
    assert postgres["volumes"] == ["postgres_data:/var/lib/postgresql"]
    assert "postgres_data" in compose["volumes"]


def test_migrations_are_mounted_read_only_where_the_service_looks(pgdbm: Service) -> None:
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
