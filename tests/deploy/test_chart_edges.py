"""Values that are valid and unusual: numbers as names, nulls, labels that meet, long names, a parent chart."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import kubernetes_validate
import pytest
import yaml

from .chart import CHART, GIT, USES, WITH_SECRET, WITH_URL, container, environment, of_kind, pod

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .chart import Manifest, Values
    from .conftest import Render, Run

    Template = Callable[..., str]

NAMES = "123"
# Each of these names and keys is one that YAML would read as a number or as true.
NUMBERS: Values = {
    "fullnameOverride": "true",
    "database": {
        "existingSecret": NAMES,
        "existingSecretKey": "1",
        "existingSecretDirectUrlKey": "2",
        "caBundle": {"secret": "321", "key": "3"},
    },
    "serviceAccount": {"name": "456"},
    "priorityClassName": "99",
    "ingress": {"enabled": True, "className": "7", "hosts": [{"host": "8"}]},
    "metrics": {"serviceMonitor": {"enabled": True, "tokenSecret": {"name": "9", "key": "10"}}},
}
SOURCES: dict[str, Values] = {
    "claim": {"existingClaim": NAMES, "subPath": "1"},
    "config maps": {"configMaps": {"orders": NAMES}},
    "git": {"gitSync": GIT | {"credentialsSecret": NAMES, "sshSecret": "321", "ref": "2024"}, "subPath": "1"},
}


def objects(text: str) -> list[Manifest]:
    return [one for one in yaml.safe_load_all(text) if one]


def strict(text: str) -> list[Manifest]:
    """The objects, without a key that occurs twice in one mapping."""

    class Loader(yaml.SafeLoader):
        pass

    def mapping(loader: Any, node: yaml.MappingNode) -> dict[Any, Any]:
        keys = [loader.construct_object(key) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"twice: {keys}"
        return loader.construct_mapping(node, deep=True)  # type: ignore[no-any-return]

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    return [one for one in yaml.load_all(text, Loader) if one]


def accepted(manifests: list[Manifest]) -> None:
    for one in manifests:
        if one["kind"] not in ("ServiceMonitor", "PrometheusRule", "HTTPRoute"):
            kubernetes_validate.validate(one, "1.37", strict=True)


@pytest.mark.parametrize("source", SOURCES)
def test_names_that_look_like_numbers_stay_text(template: Template, source: str) -> None:
    manifests = objects(template({**NUMBERS, "migrations": SOURCES[source]}, release="2024"))
    accepted(manifests)
    assert {one["metadata"]["name"] for one in manifests} == {"true", "456", "true-test"}
    monitor = of_kind(manifests, "ServiceMonitor")
    assert monitor["spec"]["selector"]["matchLabels"]["app.kubernetes.io/instance"] == "2024"
    assert monitor["spec"]["endpoints"][0]["authorization"]["credentials"] == {"name": "9", "key": "10"}


@pytest.mark.parametrize("use", USES)
def test_no_key_occurs_twice(template: Template, use: str) -> None:
    strict(template(USES[use]))


def test_labels_that_meet(template: Template) -> None:
    """Those for the operator's selectors go before the common ones, which the pod of the test has, too."""
    watched = {"enabled": True, "labels": {"release": "prometheus", "team": "watchers"}}
    values = {
        **WITH_URL,
        "commonLabels": {"release": "all", "team": "platform"},
        "metrics": {"serviceMonitor": watched, "rules": watched, "dashboard": watched},
    }
    manifests = strict(template(values))
    found = {one["kind"]: one["metadata"]["labels"] for one in manifests}
    assert len(found) == len(manifests) == 9
    for kind, labels in found.items():
        of_operator = kind in ("ServiceMonitor", "PrometheusRule", "ConfigMap")
        assert labels["release"] == ("prometheus" if of_operator else "all"), kind
        assert labels["team"] == ("watchers" if of_operator else "platform"), kind


def test_recreate_needs_no_null(render: Render) -> None:
    """helm merges the default of rollingUpdate into the values, and Kubernetes refuses it with Recreate."""
    manifests = render({**WITH_URL, "updateStrategy": {"type": "Recreate"}})
    assert of_kind(manifests, "Deployment")["spec"]["strategy"] == {"type": "Recreate"}
    changed = render({**WITH_URL, "updateStrategy": {"rollingUpdate": {"maxSurge": "50%"}}})
    assert of_kind(changed, "Deployment")["spec"]["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": "50%", "maxUnavailable": 0},
    }


@pytest.mark.parametrize(
    ("budget", "spec"),
    [
        ({"minAvailable": None}, {"maxUnavailable": 1}),
        ({"minAvailable": 0}, {"minAvailable": 0}),
        ({"minAvailable": "2", "maxUnavailable": None}, {"minAvailable": 2}),
        ({"maxUnavailable": "50%"}, {"maxUnavailable": "50%"}),
    ],
)
def test_a_budget_has_one_number(render: Render, budget: Values, spec: Values) -> None:
    manifests = render({**WITH_URL, "podDisruptionBudget": {"enabled": True, **budget}})
    found = of_kind(manifests, "PodDisruptionBudget")["spec"]
    del found["selector"]
    assert found == spec


def test_a_budget_that_blocks_every_drain_is_named_in_the_notes(run: Run) -> None:
    def notes(values: Values) -> str:
        shown = run("install", "shop", str(CHART), "--dry-run=client", values={**WITH_URL, **values})
        assert shown.returncode == 0, shown.stderr
        return " ".join(shown.stdout.partition("NOTES:")[2].split())

    budget = {"enabled": True, "minAvailable": 1}
    assert "allows no eviction with replicaCount 1" in notes({"podDisruptionBudget": budget})
    assert "eviction" not in notes({"podDisruptionBudget": budget, "replicaCount": 2})
    routed = notes({"ingress": {"enabled": True, "hosts": [{"host": "x"}]}})
    assert "networkPolicy.from has to admit the pods of the ingress controller" in routed


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"podDisruptionBudget": {"enabled": True, "maxUnavailable": None}},
            "set podDisruptionBudget.minAvailable or podDisruptionBudget.maxUnavailable",
        ),
        ({"extraEnv": [{"name": "PGDBM_LOG_LEVEL", "value": "debug"}]}, "PGDBM_LOG_LEVEL is set twice"),
        (
            {
                "extraEnv": [{"name": "PGDBM_MAX_CONNECTIONS", "value": "5"}],
                "settings": {"PGDBM_MAX_CONNECTIONS": "6"},
            },
            "PGDBM_MAX_CONNECTIONS is set twice",
        ),
        (
            {"autoscaling": {"enabled": True}, "resources": {"requests": {"cpu": None}}},
            "set resources.requests.cpu",
        ),
        (
            {"autoscaling": {"enabled": True}, "extraContainers": [{"name": "sidecar", "image": "x"}]},
            "set resources.requests.cpu of the extra container sidecar",
        ),
        (
            {"autoscaling": {"enabled": True}, "migrations": {"gitSync": GIT | {"resources": {"requests": None}}}},
            "set migrations.gitSync.resources.requests.cpu",
        ),
    ],
)
def test_what_kubernetes_would_refuse_or_ignore_is_refused(run: Run, values: Values, said: str) -> None:
    done = run("template", "shop", str(CHART), values={**WITH_URL, **values})
    assert done.returncode != 0
    [line] = [line for line in done.stderr.splitlines() if line.startswith("Error:")]
    assert said in line


def test_every_container_requests_cpu_for_the_autoscaler(render: Render) -> None:
    """Without a request in each of them, Kubernetes computes no percentage, and never scales."""
    values = {**USES["git-sync"], "autoscaling": {"enabled": True}}
    values["migrations"] = {"gitSync": {"enabled": True, "repository": "https://git.example/shop.git"}}
    for one in pod(render(values))["containers"]:
        assert one["resources"]["requests"]["cpu"], one["name"]


def test_another_user_can_read_the_key_of_git(render: Render) -> None:
    """Without an fsGroup, which the chart does not set, the files of a Secret belong to root:root."""
    manifests = render(USES["git-sync"])
    (volume,) = [volume for volume in pod(manifests)["volumes"] if volume["name"] == "git-sync-ssh"]
    assert volume["secret"]["defaultMode"] & 0o004
    assert "fsGroup" not in pod(manifests)["securityContext"]
    mounted = {one["name"] for one in pod(manifests)["containers"] if "git-sync-ssh" in str(one["volumeMounts"])}
    assert mounted == {"git-sync"}


def test_arguments_of_git_are_text(render: Render) -> None:
    values = {**WITH_SECRET, "migrations": {"gitSync": GIT | {"ref": "release#1", "repository": "git@h:o/r.git"}}}
    (clone,) = pod(render(values))["initContainers"]
    assert {"--ref=release#1", "--repo=git@h:o/r.git"} <= set(clone["args"])


@pytest.mark.parametrize("values", [{"nameOverride": "a" * 62 + "b"}, {"fullnameOverride": "a" * 55 + "---" + "b" * 5}])
def test_long_names_are_cut(template: Template, values: Values) -> None:
    watched = {name: {"enabled": True} for name in ("serviceMonitor", "rules", "dashboard")}
    manifests = objects(template({**WITH_URL, **values, "metrics": watched}, release="r" * 53))
    accepted(manifests)
    for one in manifests:
        names = [one["metadata"]["name"], *one["metadata"]["labels"].values()]
        assert all(len(name) <= 63 and not name.endswith("-") for name in names), names


def test_the_pod_of_the_test_can_be_scheduled_where_the_service_is(template: Template) -> None:
    (test,) = [one for one in objects(template(USES["everything"])) if one["kind"] == "Pod"]
    spec = test["spec"]
    assert spec["nodeSelector"] == {"kubernetes.io/arch": "amd64"}
    assert spec["tolerations"] == [{"key": "dedicated", "operator": "Exists"}]
    assert spec["containers"][0]["resources"]["requests"]["cpu"]
    assert test["metadata"]["labels"]["team"] == "platform"


def test_as_a_dependency_with_a_condition(helm: str, tmp_path: Path) -> None:
    """helm gives the subchart the value of its condition, and `global`."""
    parent = tmp_path / "parent"
    shutil.copytree(CHART, parent / "charts" / "pgdbm")
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    dependency = {"name": "pgdbm", "version": version, "condition": "pgdbm.enabled"}
    chart = {"apiVersion": "v2", "name": "parent", "version": "1.0.0", "dependencies": [dependency]}
    (parent / "Chart.yaml").write_text(yaml.safe_dump(chart))

    def kinds(enabled: bool) -> set[str]:
        values = {"global": {"team": "x"}, "pgdbm": {**WITH_SECRET, "enabled": enabled}}
        (parent / "values.yaml").write_text(yaml.safe_dump(values))
        done = subprocess.run(
            [helm, "template", "shop", parent], env={"HOME": str(tmp_path)}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return {one["kind"] for one in objects(done.stdout)}

    assert "Deployment" in kinds(enabled=True)
    assert kinds(enabled=False) == set()


def test_a_variable_of_the_user_is_kept(render: Render) -> None:
    manifests = render({**WITH_URL, "extraEnv": [{"name": "PGAPPNAME", "value": "1"}]})
    assert environment(manifests)["PGAPPNAME"] == "1"
    names = [one["name"] for one in container(manifests)["env"]]
    assert len(names) == len(set(names))


def test_every_name_of_a_module_can_have_a_config_map(render: Render) -> None:
    names = ["_shop", "shop.orders", "Shop-2", "7"]
    manifests = render({**WITH_URL, "migrations": {"configMaps": dict.fromkeys(names, "sql")}})
    mounted = {mount["mountPath"] for mount in container(manifests)["volumeMounts"]}
    assert {f"/migrations_repo/{name}" for name in names} <= mounted
    accepted(manifests)
