"""The Helm chart: linted, rendered as it is used, and every object checked against Kubernetes' schemas."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from pgdbm_service.settings import read_settings, unknown_variables

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "pgdbm"
PASSWORD = "s3cret-of-the-test"
URL = f"postgresql://owner:{PASSWORD}@db.example:5432/orders"

Values = dict[str, Any]
Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]
Run = Callable[..., "subprocess.CompletedProcess[str]"]

WITH_URL: Values = {"database": {"url": URL}}
WITH_SECRET: Values = {"database": {"existingSecret": "orders-db", "existingSecretKey": "dsn"}}
DIRECT = f"postgresql://owner:{PASSWORD}@db-direct.example:5432/orders"
WATCHED: Values = {
    **WITH_URL,
    "metrics": {
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}, "interval": "15s"},
        "rules": {"enabled": True, "labels": {"release": "prometheus"}, "runbookUrl": "https://docs.example/runbooks/"},
    },
}
EVERYTHING: Values = {
    "replicaCount": 3,
    "image": {"digest": "sha256:" + "0" * 64, "pullSecrets": [{"name": "registry"}]},
    "database": {"url": URL, "directUrl": DIRECT},
    "networkPolicy": {"enabled": True, "from": [{"namespaceSelector": {"matchLabels": {"team": "orders"}}}]},
    "service": {"port": 80, "annotations": {"example.org/owner": "orders"}},
    "migrations": {"existingClaim": "migrations", "subPath": "checkout/migrations_repo"},
    "log": {"level": "debug", "format": "console"},
    "settings": {"PGDBM_MAX_CONNECTIONS": "5"},
    "auth": {"mode": "tokens"},
    "serviceAccount": {"create": True, "name": "migrator", "annotations": {"example.org/role": "migrator"}},
    "podAnnotations": {"example.org/scrape": "true"},
    "podLabels": {"team": "orders"},
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
}
ISSUER: Values = {
    "issuer": "https://kubernetes.default.svc.cluster.local",
    "audience": "pgdbm",
    "subjectScopes": {"system:serviceaccount:shop:*": ["read", "migrate:orders*"], "ops": ["admin"]},
}
USES: dict[str, Values] = {
    "url": WITH_URL,
    "existing secret": WITH_SECRET,
    "no network policy": {**WITH_URL, "networkPolicy": {"enabled": False}},
    "nobody let in": {**WITH_URL, "networkPolicy": {"from": []}},
    "config maps": {**WITH_SECRET, "migrations": {"configMaps": {"orders": "orders-sql", "a_b": "ab-sql"}}},
    "account of others": {**WITH_SECRET, "serviceAccount": {"create": False, "name": "shared"}},
    "no auth": {**WITH_URL, "auth": {"mode": "none"}, "allowUnauthenticated": True},
    "jwt": {**WITH_SECRET, "auth": {"mode": "jwt", "jwt": ISSUER}},
    "service accounts": {**WITH_SECRET, "auth": {"mode": "jwt", "jwt": {**ISSUER, "inCluster": True}}},
    "everything": EVERYTHING,
}
# The same values always give the same objects, and most tests look at those of a few.
RENDERED: dict[str, list[Manifest]] = {}


@pytest.fixture(scope="session")
def helm() -> str:
    found = subprocess.run([sys.executable, ROOT / ".ci" / "helm"], capture_output=True, text=True)
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
def render(run: Run) -> Render:
    def render(values: Values, release: str = "shop") -> list[Manifest]:
        key = json.dumps([release, values], sort_keys=True)
        if key not in RENDERED:
            done = run("template", release, str(CHART), "--namespace", "orders", values=values)
            assert done.returncode == 0, done.stderr
            RENDERED[key] = [document for document in yaml.safe_load_all(done.stdout) if document]
        return deepcopy(RENDERED[key])

    return render


def of_kind(manifests: list[Manifest], kind: str) -> Manifest:
    [manifest] = [manifest for manifest in manifests if manifest["kind"] == kind]
    return manifest


def pod(manifests: list[Manifest]) -> Manifest:
    spec: Manifest = of_kind(manifests, "Deployment")["spec"]["template"]["spec"]
    return spec


def container(manifests: list[Manifest]) -> Manifest:
    [one] = pod(manifests)["containers"]
    assert isinstance(one, dict)
    return one


def environment(manifests: list[Manifest]) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container(manifests)["env"]}


@pytest.mark.parametrize("use", ["url", "everything"])
def test_lint_finds_nothing(run: Run, use: str) -> None:
    done = run("lint", "--strict", str(CHART), values=USES[use])
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("use", USES)
def test_kubernetes_would_take_every_object(render: Render, use: str) -> None:
    """Strict: a field that Kubernetes does not know is an error too."""
    newest = kubernetes_validate.latest_version()
    manifests = render(USES[use])
    assert {"Deployment", "Service"} <= {manifest["kind"] for manifest in manifests}
    for manifest in manifests:
        kubernetes_validate.validate(manifest, newest, strict=True)


def test_the_oldest_kubernetes_of_the_chart_would_take_it_too(render: Render) -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    oldest = chart["kubeVersion"].removeprefix(">=").removesuffix("-0")
    for manifest in render(EVERYTHING):
        assert oldest.startswith(kubernetes_validate.validate(manifest, oldest, strict=True))


@pytest.mark.parametrize("values", [WITH_URL, EVERYTHING], ids=["url", "everything"])
def test_the_password_is_in_the_secret_and_nowhere_else(render: Render, run: Run, values: Values) -> None:
    manifests = render(values)
    outside = json.dumps([manifest for manifest in manifests if manifest["kind"] != "Secret"])
    assert PASSWORD not in outside
    assert base64.b64encode(URL.encode()).decode() not in outside
    assert base64.b64encode(DIRECT.encode()).decode() not in outside
    notes = run("install", "shop", str(CHART), "--dry-run=client", "--hide-secret", values=values)
    assert notes.returncode == 0, notes.stderr
    assert PASSWORD not in notes.stdout


def test_a_url_is_kept_in_a_secret_of_the_chart(render: Render) -> None:
    manifests = render(WITH_URL)
    secret = of_kind(manifests, "Secret")
    assert base64.b64decode(secret["data"]["DATABASE_URL"]).decode() == URL
    name = secret["metadata"]["name"]
    assert environment(manifests)["DATABASE_URL"] == {"secretKeyRef": {"name": name, "key": "DATABASE_URL"}}


def test_a_direct_url_comes_from_the_same_secret(render: Render) -> None:
    manifests = render(EVERYTHING)
    secret = of_kind(manifests, "Secret")
    assert base64.b64decode(secret["data"]["PGDBM_DIRECT_URL"]).decode() == DIRECT
    key = {"name": secret["metadata"]["name"], "key": "PGDBM_DIRECT_URL"}
    assert environment(manifests)["PGDBM_DIRECT_URL"] == {"secretKeyRef": key}
    keys = {"existingSecret": "orders-db", "existingSecretDirectUrlKey": "direct"}
    existing = environment(render({"database": keys}))
    assert existing["PGDBM_DIRECT_URL"] == {"secretKeyRef": {"name": "orders-db", "key": "direct"}}
    assert "PGDBM_DIRECT_URL" not in environment(render(WITH_SECRET))


def test_prometheus_is_told_where_the_metrics_are(render: Render) -> None:
    """The operator's kinds are not Kubernetes' own: what is looked at is how they fit to the other objects."""
    manifests = render(WATCHED)
    monitor = of_kind(manifests, "ServiceMonitor")
    service = of_kind(manifests, "Service")
    assert (monitor["apiVersion"], set(monitor["spec"])) == ("monitoring.coreos.com/v1", {"selector", "endpoints"})
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    endpoint = {"port": service["spec"]["ports"][0]["name"], "path": "/metrics", "interval": "15s"}
    assert monitor["spec"]["endpoints"] == [endpoint]
    secret = {"name": "prometheus", "key": "token"}
    asking = render({**WITH_URL, "metrics": {"serviceMonitor": {"enabled": True, "tokenSecret": secret}}})
    credentials = of_kind(asking, "ServiceMonitor")["spec"]["endpoints"][0]["authorization"]
    assert credentials == {"credentials": secret}
    assert {"ServiceMonitor", "PrometheusRule"}.isdisjoint(one["kind"] for one in render(WITH_URL))


def test_the_alerts_are_those_of_the_release(render: Render) -> None:
    rule = of_kind(render(WATCHED), "PrometheusRule")
    assert (rule["apiVersion"], set(rule["spec"])) == ("monitoring.coreos.com/v1", {"groups"})
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    (group,) = rule["spec"]["groups"]
    assert set(group) == {"name", "rules"}
    files = sorted((CHART / "alerts").glob("*.yaml"))
    for path, alert in zip(files, group["rules"], strict=True):
        written = yaml.safe_load(path.read_text())
        address = f"https://docs.example/runbooks/{path.stem}.html"
        assert alert["annotations"] == written["annotations"] | {"runbook_url": address}
        assert alert["expr"] == written["expr"].replace("RELEASE", 'job="shop-pgdbm",namespace="orders"')
        assert (alert["alert"], alert["labels"]) == (written["alert"], written["labels"])
        assert "RELEASE" not in json.dumps(alert)


def test_another_url_rolls_the_pods(render: Render) -> None:
    def checksum(url: str) -> str:
        template = of_kind(render({"database": {"url": url}}), "Deployment")["spec"]["template"]
        found: str = template["metadata"]["annotations"]["checksum/database"]
        return found

    assert checksum(URL) == checksum(URL) != checksum(URL + "2")


def test_an_existing_secret_is_referred_to_and_none_is_made(render: Render) -> None:
    manifests = render(WITH_SECRET)
    assert "Secret" not in {manifest["kind"] for manifest in manifests}
    assert environment(manifests)["DATABASE_URL"] == {"secretKeyRef": {"name": "orders-db", "key": "dsn"}}


def test_the_pod_meets_the_restricted_standard(render: Render) -> None:
    manifests = render(WITH_URL)
    assert pod(manifests)["securityContext"]["runAsNonRoot"] is True
    assert pod(manifests)["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container(manifests)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_pod_has_no_token_and_no_variables_of_other_services(render: Render) -> None:
    """Beside a Service named pgdbm, service links would give it a PGDBM_PORT of tcp://…"""
    manifests = render(WITH_URL, release="pgdbm")
    assert of_kind(manifests, "Service")["metadata"]["name"] == "pgdbm"
    assert pod(manifests)["enableServiceLinks"] is False
    assert pod(manifests)["automountServiceAccountToken"] is False
    assert of_kind(manifests, "ServiceAccount")["automountServiceAccountToken"] is False


def test_the_probes_ask_live_and_ready(render: Render) -> None:
    one = container(render(WITH_URL))
    asked = {name: one[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert asked == {
        "startupProbe": "/health/live",
        "livenessProbe": "/health/live",
        "readinessProbe": "/health/ready",
    }
    [port] = one["ports"]
    assert str(port["containerPort"]) == environment(render(WITH_URL))["PGDBM_PORT"]


@pytest.mark.parametrize("values", [WITH_URL, EVERYTHING], ids=["url", "everything"])
def test_the_service_takes_the_settings(render: Render, tmp_path: Path, values: Values) -> None:
    manifests = render(values)
    # URLs come from a Secret, and the folder is there in the container only.
    given = {**environment(manifests), "PGDBM_MIGRATIONS_REPO": str(tmp_path)}
    given |= {name: URL for name, value in given.items() if isinstance(value, dict)}
    assert read_settings(given).shutdown_grace_s < pod(manifests)["terminationGracePeriodSeconds"]
    assert list(unknown_variables(given)) == []


def test_it_asks_for_tokens_unless_told(render: Render) -> None:
    given = environment(render(WITH_URL))
    assert given["PGDBM_AUTH"] == "tokens"
    assert "PGDBM_ALLOW_UNAUTHENTICATED" not in given


@pytest.mark.parametrize("use", ["no auth", "jwt", "service accounts"])
def test_the_service_takes_the_settings_of_auth(render: Render, tmp_path: Path, use: str) -> None:
    for name in ("ca.crt", "token"):
        (tmp_path / name).touch()
    given = {**environment(render(USES[use])), "DATABASE_URL": URL, "PGDBM_MIGRATIONS_REPO": str(tmp_path)}
    given = {name: value.replace("/var/run/pgdbm/cluster", str(tmp_path)) for name, value in given.items()}
    settings = read_settings(given)
    assert list(unknown_variables(given)) == []
    assert (settings.auth == "none") == settings.allow_unauthenticated
    if settings.auth == "jwt":
        assert settings.jwt_subject_scopes == ISSUER["subjectScopes"]
        assert (settings.jwks_url is not None) == (use == "service accounts")


def test_the_cluster_s_keys_are_fetched_with_a_token_for_that(render: Render) -> None:
    manifests = render(USES["service accounts"])
    (mount,) = [mount for mount in container(manifests)["volumeMounts"] if mount["name"] == "cluster"]
    (volume,) = [volume for volume in pod(manifests)["volumes"] if volume["name"] == "cluster"]
    token, authority = volume["projected"]["sources"]
    given = environment(manifests)
    assert given["PGDBM_JWKS_TOKEN_FILE"] == f"{mount['mountPath']}/{token['serviceAccountToken']['path']}"
    assert given["PGDBM_JWKS_CA_FILE"] == f"{mount['mountPath']}/{authority['configMap']['items'][0]['path']}"
    assert mount["readOnly"] is True
    assert "cluster" not in {one["name"] for one in pod(render(USES["jwt"]))["volumes"]}


def test_without_auth_it_is_reached_from_inside_the_cluster_alone(render: Render) -> None:
    manifests = render(USES["no auth"])
    assert environment(manifests)["PGDBM_HOST"] == "0.0.0.0"
    assert environment(manifests)["PGDBM_ALLOW_UNAUTHENTICATED"] == "true"
    assert of_kind(manifests, "Service")["spec"]["type"] == "ClusterIP"
    assert "Ingress" not in {manifest["kind"] for manifest in manifests}


def test_without_that_value_nothing_is_opened(render: Render) -> None:
    given = environment(render({**WITH_URL, "auth": {"mode": "none"}}))
    assert "PGDBM_ALLOW_UNAUTHENTICATED" not in given
    assert given["PGDBM_AUTH"] == "none"


def test_the_network_policy_lets_in_whom_the_values_name(render: Render) -> None:
    policy = of_kind(render(EVERYTHING), "NetworkPolicy")["spec"]
    labels = of_kind(render(EVERYTHING), "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    assert policy["ingress"] == [
        {
            "from": [{"namespaceSelector": {"matchLabels": {"team": "orders"}}}],
            "ports": [{"port": "http", "protocol": "TCP"}],
        }
    ]


def test_a_network_policy_without_peers_lets_nobody_in(render: Render) -> None:
    """An ingress rule with an empty "from" would let in everybody."""
    assert of_kind(render(USES["nobody let in"]), "NetworkPolicy")["spec"]["ingress"] == []


@pytest.mark.parametrize(
    ("migrations", "mounts"),
    [
        ({}, {"/migrations_repo": {"emptyDir": {}}}),
        (
            {"existingClaim": "sql"},
            {"/migrations_repo": {"persistentVolumeClaim": {"claimName": "sql", "readOnly": True}}},
        ),
        (
            {"configMaps": {"a_b": "one", "a-b": "two"}},
            {
                "/migrations_repo/a_b": {"configMap": {"name": "one"}},
                "/migrations_repo/a-b": {"configMap": {"name": "two"}},
            },
        ),
    ],
    ids=["nothing", "claim", "config maps"],
)
def test_migrations_are_mounted_read_only(render: Render, migrations: Values, mounts: Values) -> None:
    manifests = render({**WITH_URL, "migrations": migrations})
    volumes = {volume.pop("name"): volume for volume in pod(manifests)["volumes"]}
    mounted = [mount for mount in container(manifests)["volumeMounts"] if mount["name"] != "tmp"]
    assert {mount["mountPath"]: volumes[mount["name"]] for mount in mounted} == mounts
    assert all(mount["readOnly"] for mount in mounted)


def test_the_image_is_of_the_chart_s_version_unless_told(render: Render) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert container(render(WITH_URL))["image"] == f"pgdbm:{project['version']}"
    assert container(render(EVERYTHING))["image"] == "pgdbm@sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"replicas": 2}, "'replicas'"),
        ({"replicaCount": "two"}, "/replicaCount"),
        ({"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy"),
        ({"image": {"digest": "sha256:abc"}}, "/image/digest"),
        ({"database": {"uri": URL}}, "'uri'"),
        ({"service": {"port": 0}}, "/service/port"),
        ({"service": {"type": "LoadBalancer"}}, "'type'"),
        ({"allowUnauthenticated": "yes"}, "/allowUnauthenticated"),
        ({"auth": {"mode": "basic"}}, "/auth/mode"),
        ({"auth": {"jwt": {"issuer": "http://x"}}}, "/auth/jwt/issuer"),
        ({"auth": {"jwt": {"subjectScopes": {"x": ["write"]}}}}, "/auth/jwt/subjectScopes/x/0"),
        ({"settings": {"PGDBM_AUTH": "none"}}, "/settings/PGDBM_AUTH"),
        ({"networkPolicy": {"from": [{"pods": {}}]}}, "'pods'"),
        ({"networkPolicy": {"from": [{}]}}, "/networkPolicy/from/0"),
        ({"migrations": {"subPath": "../etc"}}, "/migrations/subPath"),
        ({"migrations": {"configMaps": {"../up": "sql"}}}, "'../up'"),
        ({"metrics": {"serviceMonitor": {"interval": "often"}}}, "/metrics/serviceMonitor/interval"),
        ({"metrics": {"serviceMonitor": {"tokenSecret": {"name": "x"}}}}, "/metrics/serviceMonitor/tokenSecret"),
        ({"metrics": {"rules": {"enabled": "yes"}}}, "/metrics/rules/enabled"),
        ({"log": {"level": "loud"}}, "/log/level"),
        ({"log": {"format": "xml"}}, "/log/format"),
        ({"settings": {"PATH": "/evil"}}, "'PATH'"),
        ({"settings": {"PGDBM_HOST": "::"}}, "/settings/PGDBM_HOST"),
        ({"settings": {"PGDBM_DIRECT_URL": URL}}, "/settings/PGDBM_DIRECT_URL"),
        ({"terminationGracePeriodSeconds": 0}, "/terminationGracePeriodSeconds"),
        ({"podLabels": {"app.kubernetes.io/name": "x"}}, "/podLabels/app.kubernetes.io~1name"),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else None,
)
def test_a_bad_value_is_refused_by_name(run: Run, values: Values, named: str) -> None:
    merged = {**WITH_SECRET, **values}
    done = run("template", "shop", str(CHART), values=merged)
    assert done.returncode != 0
    assert named in done.stderr
    assert PASSWORD not in done.stderr


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "no database: set database.existingSecret"),
        (
            {"database": {"url": URL, "existingSecret": "x"}},
            "database.url or database.existingSecret, not both",
        ),
        ({"database": {"url": f"mysql://u:{PASSWORD}@h/d"}}, "database.url must be a URL like postgresql://"),
        ({"database": {"url": URL, "directUrl": PASSWORD}}, "database.directUrl must be a URL like postgresql://"),
        ({"database": {"existingSecret": "x", "directUrl": URL}}, "database.directUrl goes with database.url"),
        (
            {**WITH_URL, "migrations": {"existingClaim": "a", "configMaps": {"m": "b"}}},
            "migrations.existingClaim or migrations.configMaps, not both",
        ),
        ({**WITH_URL, "auth": {"mode": "jwt"}}, "auth.jwt.issuer and auth.jwt.audience"),
    ],
    ids=["no database", "two databases", "another database", "no direct url", "two kinds", "two repos", "no issuer"],
)
def test_values_that_contradict_end_in_one_line(run: Run, values: Values, said: str) -> None:
    done = run("template", "shop", str(CHART), values=values)
    assert done.returncode != 0
    [line] = [line for line in done.stderr.splitlines() if line.startswith("Error:")]
    assert said in line
    assert PASSWORD not in done.stderr


def test_the_notes_say_how_to_reach_it(run: Run) -> None:
    shown = run("install", "shop", str(CHART), "--namespace", "orders", "--dry-run=client", values=WITH_URL)
    assert shown.returncode == 0, shown.stderr
    notes = shown.stdout.partition("NOTES:")[2]
    assert "kubectl --namespace orders port-forward service/shop-pgdbm 8000:8000" in notes
    curls = [line.split()[-1] for line in notes.splitlines() if line.lstrip().startswith("curl")]
    assert "exec deployment/shop-pgdbm -- python -m pgdbm_service token create NAME --scope admin" in notes
    assert notes.count('--header "Authorization: Bearer $TOKEN"') == 2
    assert [curl.removeprefix("http://127.0.0.1:8000") for curl in curls] == [
        "/health/ready",
        "/modules",
        "/modules/NAME/migrate",
    ]
