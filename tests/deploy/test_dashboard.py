"""The dashboard for Grafana, against the metrics of a running service, and the pod of ``helm test``."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.support.programs import free_port

from .chart import CHART, WATCHED, WITH_URL, of_kind
from .prometheus import Recording, answered, scraped
from .test_alerts import transaction, value

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.service.running_service import Repo, RunningService

    from .conftest import Render

_METRIC = re.compile(r"\b(?:pgdbm|process)_\w+")
_VARIABLES = {"$__rate_interval": "5m", "$job": "pgdbm", "$namespace": "default"}
TABLE = "CREATE TABLE {{tables.t}} (id int)"


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((CHART / "dashboards" / "pgdbm.json").read_text())
    return found


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries(dashboard: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in panels(dashboard) for target in panel["targets"]]


def as_evaluated(query: str) -> str:
    for name, replacement in _VARIABLES.items():
        query = query.replace(name, replacement)
    return query


def exported(service: RunningService) -> set[str]:
    families = text_string_to_metric_families(service.get("/metrics").text)
    return {name for family in families for name in (family.name, *(sample.name for sample in family.samples))} | {
        f"{family.name}{suffix}"
        for family in text_string_to_metric_families(service.get("/metrics").text)
        for suffix in {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",)}.get(family.type, ())
    }


def test_every_query_is_about_metrics_of_the_service(dashboard: dict[str, Any], service: RunningService) -> None:
    named = {name for query in queries(dashboard) for name in _METRIC.findall(query)}
    assert len(named) > 15
    assert named - exported(service) == set()


def test_prometheus_can_parse_every_query(dashboard: dict[str, Any], promtool: str, tmp_path: Any) -> None:
    """The queries as recording rules, with values for Grafana's variables."""
    rules = [
        {"record": f"query:{number}", "expr": as_evaluated(query)} for number, query in enumerate(queries(dashboard))
    ]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    checked = subprocess.run([promtool, "check", "rules", str(file)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(rules)} rules found" in checked.stdout


def test_every_panel_shows_what_a_service_does(
    dashboard: dict[str, Any],
    promtool: str,
    start: Callable[..., RunningService],
    repo: Repo,
    database: str,
    tmp_path: Path,
) -> None:
    """Prometheus evaluates each query over series of a service with work behind, failed, blocked and repeated."""
    repo.write("orders", _001_a=TABLE)
    repo.write("fleet", 'schemas = ["one", "two"]', _001_a="SELECT 1")
    repo.write("bad", _001_a="SELECT 1 / 0")
    service = start(metrics_sample_s=0.05)
    recording = Recording(service)
    recording.watch(lambda: value(scraped(service), "pgdbm_migrations_pending") == 4, seconds_as=60)
    assert service.post("/modules/orders/migrate").status_code == 200
    assert service.post("/modules/bad/migrate").status_code == 422
    recording.scrape()
    repo.write("orders", _001_a=f"{TABLE}; -- changed")
    service.sync()
    recording.watch(lambda: value(scraped(service), "pgdbm_migrations_changed") == 1, seconds_as=60)
    repo.write("orders", _001_a=TABLE, _002_b="ALTER TABLE {{tables.t}} ADD COLUMN a int")
    service.sync()
    with transaction(database, "LOCK TABLE orders.t"):
        run = threading.Thread(
            target=lambda: service.post("/modules/orders/migrate", json={"lock_timeout_ms": 200, "wait_s": 60})
        )
        run.start()
        recording.watch(
            lambda: (
                (found := scraped(service))
                and value(found, "pgdbm_schemas_blocked")
                and value(found, "pgdbm_retries_total") > 1
                and value(found, "pgdbm_lock_wait_seconds_sum")
            ),
            seconds_as=60,
        )
    run.join()
    recording.watch(lambda: value(scraped(service), "pgdbm_schemas_blocked") == 0, seconds_as=60)
    recording.hold(1)
    shown = {
        f"{panel['title']}, query {number}": as_evaluated(target["expr"])
        for panel in panels(dashboard)
        for number, target in enumerate(panel["targets"], start=1)
    }
    assert set(shown) - answered(promtool, recording, tmp_path, shown) == set()


def test_panels_are_described_and_do_not_overlap(dashboard: dict[str, Any]) -> None:
    assert all(panel["description"].endswith(".") for panel in panels(dashboard))
    cells = [
        (x, y)
        for panel in dashboard["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_the_chart_installs_it_for_grafana_s_sidecar(dashboard: dict[str, Any], render: Render) -> None:
    installed = of_kind(render(WATCHED), "ConfigMap")
    assert json.loads(installed["data"]["pgdbm.json"]) == dashboard
    assert installed["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert installed["metadata"]["annotations"] == {"grafana_folder": "Databases"}
    assert "ConfigMap" not in {one["kind"] for one in render(WITH_URL)}


@pytest.mark.parametrize("stopped", [False, True], ids=["ready", "stopped"])
def test_helm_test_checks_that_the_service_is_ready(
    template: Callable[..., str], service: RunningService, stopped: bool
) -> None:
    """The command of its pod, run as it is, with the address of a service in place of the name in the cluster."""
    (hook,) = [
        one
        for one in yaml.safe_load_all(template(WITH_URL))
        if one and one["metadata"].get("annotations", {}).get("helm.sh/hook") == "test"
    ]
    (one,) = hook["spec"]["containers"]
    python, *arguments, name, port = one["command"]
    assert (python, name, port) == ("python", "shop-pgdbm", "8000")
    there = str(free_port()) if stopped else service.url.rpartition(":")[2]
    ended = subprocess.run([sys.executable, *arguments, "127.0.0.1", there], capture_output=True, text=True)
    assert ended.returncode == int(stopped), ended.stderr
