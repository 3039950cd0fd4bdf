"""The alerts of the chart use metrics that a running service exports."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.support.waiting import eventually

from ...conftest import ROOT
from ..conftest import bearer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ALERTS = sorted((ROOT / "helm" / "pgdbm" / "alerts").glob("*.yaml"))
OBSERVE = ROOT / "docs" / "howto" / "observe.md"
# The labels that a ServiceMonitor adds to every series.
OF_THE_TARGET = {"job", "namespace", "pod"}
WORDS = {"absent", "and", "avg_over_time", "by", "increase", "max", "offset", "or", "sum", "unless"}

_SELECTOR = re.compile(r"(pgdbm_\w+)\{([^{}]*)\}")
_MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"[^"]*"')


def test_alert_expressions_use_exported_metrics(start: Callable[..., Any], repo: Any) -> None:
    repo.write("good", _001_a="SELECT 1")
    service = start(auth="tokens", metrics_sample_s=0.05)
    assert service.get("/modules", headers=bearer("nonsense")).status_code == 401

    def labels() -> dict[str, set[str]]:
        families = text_string_to_metric_families(service.get("/metrics").text)
        return {sample.name: set(sample.labels) for family in families for sample in family.samples}

    exported = eventually(lambda: "pgdbm_migrations_pending" in (seen := labels()) and seen)
    for path in ALERTS:
        alert = yaml.safe_load(path.read_text())
        selectors = _SELECTOR.findall(alert["expr"])
        given: set[str] = set.union(*(exported[name] for name, _ in selectors)) | OF_THE_TARGET
        for name, inside in selectors:
            assert inside.split(",")[-1] == "RELEASE", path.name
            assert set(_MATCHER.findall(inside)) <= exported[name], path.name
        aggregated = re.findall(r"by \(([^)]*)\)", alert["expr"])
        reported = re.findall(r"\$labels\.(\w+)", str(alert["annotations"]))
        # Metrics that are summed up have exactly the labels that they are summed by.
        kept = set(", ".join(aggregated).split(", ")) if aggregated else given
        assert set(reported) <= kept <= given, path.name
    families = {family.name for family in text_string_to_metric_families(service.get("/metrics").text)}
    shown = re.findall(r"\b(?:pgdbm|process)_\w+", OBSERVE.read_text())
    assert {re.sub(r"_(bucket|count|sum|total)$", "", name) for name in shown} <= families


@pytest.mark.parametrize("path", ALERTS, ids=lambda path: path.stem)
def test_each_alert_is_valid_and_has_a_runbook(path: Path) -> None:
    alert = yaml.safe_load(path.read_text())
    assert set(alert) == {"alert", "expr", "for", "labels", "annotations"}
    assert alert["alert"] == "Pgdbm" + "".join(word.capitalize() for word in path.stem.split("-"))
    assert re.fullmatch(r"\d+[mh]", alert["for"])
    assert alert["labels"]["severity"] in ("warning", "critical")
    assert set(alert["annotations"]) == {"summary", "description"}
    rest = re.sub(r"by \([^)]*\)", "by", _SELECTOR.sub("", alert["expr"]))
    assert set(re.findall(r"[a-z_]\w*", re.sub(r"\[\d+m\]|\b\d+m\b", "", rest))) <= WORDS
    assert rest.count("(") == rest.count(")")
    page = (ROOT / "docs" / "runbooks" / f"{path.stem}.md").read_text()
    assert page.startswith(f"# {alert['alert']}\n")
    headings = re.findall(r"^## (.+)$", page, re.MULTILINE)
    assert headings == ["Meaning", "Diagnosis", "Remedy"]


def test_each_runbook_belongs_to_an_alert() -> None:
    pages = {page.stem for page in (ROOT / "docs" / "runbooks").glob("*.md")} - {"README"}
    assert pages == {path.stem for path in ALERTS}


def test_calls_named_in_runbooks_exist(start: Callable[..., Any]) -> None:
    paths = start().get("/docs/openapi.json").json()["paths"]
    there = {f"{method.upper()} {re.sub(r'{[^}]*}', 'X', path)}" for path, one in paths.items() for method in one}
    pages = [*(ROOT / "docs" / "runbooks").glob("*.md"), OBSERVE]
    named = {call for page in pages for call in re.findall(r"`((?:GET|POST|DELETE|PUT) /[\w/{}-]*)", page.read_text())}
    assert len(named) > 15
    assert {call for call in named if re.sub(r"/(?:[A-Z]+|{\w+})(?=/|$)", "/X", call) not in there} == set()
