"""The objects of each set of values: accepted by the newest, a middle and the oldest Kubernetes, and as in golden/.

After a change of the chart that is meant, write the golden manifests again with
``PGDBM_WRITE_GOLDEN=1 pytest tests/deploy/test_chart_objects.py`` and read the difference.
"""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import kubernetes_validate
import pytest
import yaml

from .chart import CHART, USES

if TYPE_CHECKING:
    from collections.abc import Callable

GOLDEN = Path(__file__).with_name("golden")
# Not part of Kubernetes: their own tests compare them with the other objects.
_OF_OPERATORS = {"ServiceMonitor", "PrometheusRule", "HTTPRoute"}
# The fields that an older Kubernetes lacks, by the use that sets them.
_SINCE = {"image-volume": 31}


def oldest() -> int:
    constraint = yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"]
    minor: str = constraint.removeprefix(">=1.").removesuffix(".0-0")
    return int(minor)


def newest() -> int:
    return int(kubernetes_validate.latest_version().split(".")[1])


@functools.cache
def accepted_by(manifest: str, version: str) -> str:
    """The version that ``manifest`` is valid for. Many sets of values have the same objects."""
    accepted: str = kubernetes_validate.validate(json.loads(manifest), version, strict=True)
    return accepted


VERSIONS = (oldest(), (oldest() + newest()) // 2, newest())


@pytest.mark.parametrize("minor", VERSIONS)
@pytest.mark.parametrize("use", USES)
def test_kubernetes_accepts_every_object(template: Callable[..., str], use: str, minor: int) -> None:
    """Strict: a field that Kubernetes does not know is an error too."""
    if minor < _SINCE.get(use, 0):
        pytest.skip(f"Kubernetes 1.{minor} has no image volumes")
    checked = set()
    for manifest in yaml.safe_load_all(template(USES[use])):
        if manifest and manifest["kind"] not in _OF_OPERATORS:
            assert accepted_by(json.dumps(manifest, sort_keys=True), f"1.{minor}") == f"1.{minor}"
            checked.add(manifest["kind"])
    assert {"Deployment", "Service", "Pod"} <= checked


@pytest.mark.parametrize("use", USES)
def test_the_objects_equal_the_golden_files(template: Callable[..., str], use: str) -> None:
    golden = GOLDEN / f"{use}.yaml"
    if os.environ.get("PGDBM_WRITE_GOLDEN"):
        golden.write_text(template(USES[use]))
    assert template(USES[use]) == golden.read_text()


def test_no_golden_manifests_are_left_over() -> None:
    assert {path.stem for path in GOLDEN.glob("*.yaml")} == set(USES)
    assert len(USES) >= 12
