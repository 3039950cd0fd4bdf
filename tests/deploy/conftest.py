"""Fixtures: helm, run with values; programs from Debian packages; a service."""

from __future__ import annotations

import json
import subprocess
import sys
from copy import deepcopy
from typing import TYPE_CHECKING

import pytest
import yaml

# The fixtures that start a service.
from tests.service.conftest import (  # noqa: F401
    begin,
    database,
    direct,
    eventually_fixture,
    fork,
    launch,
    make_token,
    prepared,
    proxied,
    proxy,
    repo,
    service,
    shared_service,
    shared_service_for,
    sql,
    start,
    watch,
)

from .chart import CHART, NAMESPACE, RELEASE, ROOT, Manifest, Values

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Render = Callable[..., list[Manifest]]
    Run = Callable[..., "subprocess.CompletedProcess[str]"]

# The same values always give the same objects, and most tests use one of a few sets of values.
_RENDERED: dict[str, str] = {}


@pytest.fixture(scope="session")
def helm() -> str:
    return program("helm")


@pytest.fixture(scope="session")
def promtool() -> str:
    return program("promtool")


def program(name: str) -> str:
    """The path of a program that a script in .ci/ finds or fetches. Skips the test, with the reason, without it."""
    found = subprocess.run([sys.executable, ROOT / ".ci" / name], capture_output=True, text=True)
    if found.returncode == 3:
        pytest.skip(found.stderr.strip())
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


@pytest.fixture
def run(helm: str, tmp_path: Path) -> Run:
    """helm VERB… with values, its folders and the cluster's address kept away from the user's own."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "none")}

    def run(*verb: str, values: Values) -> subprocess.CompletedProcess[str]:
        file = tmp_path / "values.yaml"
        file.write_text(yaml.safe_dump(values))
        command = [helm, *verb, "--values", str(file)]
        return subprocess.run(command, capture_output=True, text=True, env=environment)

    return run


@pytest.fixture
def template(run: Run) -> Callable[..., str]:
    """The text that ``helm template`` prints."""

    def template(values: Values, release: str = RELEASE) -> str:
        key = json.dumps([release, values], sort_keys=True)
        if key not in _RENDERED:
            done = run("template", release, str(CHART), "--namespace", NAMESPACE, values=values)
            assert done.returncode == 0, done.stderr
            _RENDERED[key] = done.stdout
        return _RENDERED[key]

    return template


@pytest.fixture
def render(template: Callable[..., str]) -> Render:
    """The objects that the chart installs, without those of `helm test`."""

    def render(values: Values, release: str = RELEASE) -> list[Manifest]:
        documents = [document for document in yaml.safe_load_all(template(values, release)) if document]
        return deepcopy([one for one in documents if "helm.sh/hook" not in one["metadata"].get("annotations", {})])

    return render
