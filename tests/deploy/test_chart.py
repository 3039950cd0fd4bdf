"""The Helm chart: linted, rendered for each documented use, and every object checked against Kubernetes' schemas."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest
import yaml

from pgdbm.version import __version__
from pgdbm_service.settings import read_settings, unknown_variables

from .chart import (
    CHART,
    DIRECT,
    EVERYTHING,
    ISSUER,
    PASSWORD,
    URL,
    USES,
    WATCHED,
    WITH_SECRET,
    WITH_URL,
    Values,
    container,
    environment,
    of_kind,
    pod,
)

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Render, Run


@pytest.mark.parametrize("use", ["url", "everything"])
def test_lint_finds_nothing(run: Run, use: str) -> None:
    done = run("lint", "--strict", str(CHART), values=USES[use])
    assert done.returncode == 0, done.stdout + done.stderr


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


def test_the_service_monitor_scrapes_the_metrics_port(render: Render) -> None:
    """The operator's kinds are not part of Kubernetes, so the test checks that they match the other objects."""
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


def test_a_changed_url_restarts_the_pods(render: Render) -> None:
    def checksum(url: str) -> str:
        template = of_kind(render({"database": {"url": url}}), "Deployment")["spec"]["template"]
        found: str = template["metadata"]["annotations"]["checksum/database"]
        return found

    assert checksum(URL) == checksum(URL) != checksum(URL + "2")


def test_an_existing_secret_is_used_instead_of_a_new_one(render: Render) -> None:
    manifests = render(WITH_SECRET)
    assert "Secret" not in {manifest["kind"] for manifest in manifests}
    assert environment(manifests)["DATABASE_URL"] == {"secretKeyRef": {"name": "orders-db", "key": "dsn"}}


def test_the_pod_meets_the_restricted_pod_security_standard(render: Render) -> None:
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
def test_the_service_accepts_the_settings(render: Render, tmp_path: Path, values: Values) -> None:
    manifests = render(values)
    # URLs come from a Secret, and the folder exists only in the container.
    given = {**environment(manifests), "PGDBM_MIGRATIONS_REPO": str(tmp_path)}
    given |= {name: URL for name, value in given.items() if isinstance(value, dict)}
    assert read_settings(given).shutdown_grace_s < pod(manifests)["terminationGracePeriodSeconds"]
    assert list(unknown_variables(given)) == []


def test_tokens_are_required_by_default(render: Render) -> None:
    given = environment(render(WITH_URL))
    assert given["PGDBM_AUTH"] == "tokens"
    assert "PGDBM_ALLOW_UNAUTHENTICATED" not in given


@pytest.mark.parametrize("use", ["no-auth", "jwt", "service-accounts"])
def test_the_service_accepts_the_auth_settings(render: Render, tmp_path: Path, use: str) -> None:
    for name in ("ca.crt", "token"):
        (tmp_path / name).touch()
    given = {**environment(render(USES[use])), "DATABASE_URL": URL, "PGDBM_MIGRATIONS_REPO": str(tmp_path)}
    given = {name: value.replace("/var/run/pgdbm/cluster", str(tmp_path)) for name, value in given.items()}
    settings = read_settings(given)
    assert list(unknown_variables(given)) == []
    assert (settings.auth == "none") == settings.allow_unauthenticated
    if settings.auth == "jwt":
        assert settings.jwt_subject_scopes == ISSUER["subjectScopes"]
        assert (settings.jwks_url is not None) == (use == "service-accounts")


def test_the_keys_of_the_cluster_are_fetched_with_a_token(render: Render) -> None:
    manifests = render(USES["service-accounts"])
    (mount,) = [mount for mount in container(manifests)["volumeMounts"] if mount["name"] == "cluster"]
    (volume,) = [volume for volume in pod(manifests)["volumes"] if volume["name"] == "cluster"]
    token, authority = volume["projected"]["sources"]
    given = environment(manifests)
    assert given["PGDBM_JWKS_TOKEN_FILE"] == f"{mount['mountPath']}/{token['serviceAccountToken']['path']}"
    assert given["PGDBM_JWKS_CA_FILE"] == f"{mount['mountPath']}/{authority['configMap']['items'][0]['path']}"
    assert mount["readOnly"] is True
    assert "cluster" not in {one["name"] for one in pod(render(USES["jwt"]))["volumes"]}


def test_without_auth_only_the_cluster_can_reach_the_service(render: Render) -> None:
    manifests = render(USES["no-auth"])
    assert environment(manifests)["PGDBM_HOST"] == "0.0.0.0"
    assert environment(manifests)["PGDBM_ALLOW_UNAUTHENTICATED"] == "true"
    name = of_kind(manifests, "Service")["metadata"]["name"]
    hosts = environment(manifests)["PGDBM_ALLOWED_HOSTS"].split(", ")
    assert hosts[0] == name
    assert hosts[-1].startswith(f"{name}.")
    assert hosts[-1].endswith(".svc.cluster.local")
    assert of_kind(manifests, "Service")["spec"]["type"] == "ClusterIP"
    assert "Ingress" not in {manifest["kind"] for manifest in manifests}


def test_the_network_policy_is_optional(render: Render) -> None:
    given = environment(render({**WITH_URL, "auth": {"mode": "none"}}))
    assert "PGDBM_ALLOW_UNAUTHENTICATED" not in given
    assert given["PGDBM_AUTH"] == "none"


def test_the_network_policy_admits_the_peers_in_the_values(render: Render) -> None:
    policy = of_kind(render(EVERYTHING), "NetworkPolicy")["spec"]
    labels = of_kind(render(EVERYTHING), "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    assert policy["ingress"] == [
        {
            "from": [{"namespaceSelector": {"matchLabels": {"team": "orders"}}}],
            "ports": [{"port": "http", "protocol": "TCP"}],
        }
    ]


def test_a_network_policy_without_peers_admits_no_connection(render: Render) -> None:
    """An ingress rule with an empty "from" would admit every peer."""
    assert of_kind(render(USES["no-peers"]), "NetworkPolicy")["spec"]["ingress"] == []


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


def test_the_image_has_the_version_of_the_chart_by_default(render: Render) -> None:
    assert container(render(WITH_URL))["image"] == f"pgdbm:{__version__}"
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
        ({"service": {"type": "ExternalName"}}, "/service/type"),
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
def test_contradicting_values_fail_with_one_line(run: Run, values: Values, said: str) -> None:
    done = run("template", "shop", str(CHART), values=values)
    assert done.returncode != 0
    [line] = [line for line in done.stderr.splitlines() if line.startswith("Error:")]
    assert said in line
    assert PASSWORD not in done.stderr


def test_the_notes_explain_how_to_reach_the_service(run: Run) -> None:
    shown = run("install", "shop", str(CHART), "--namespace", "orders", "--dry-run=client", values=WITH_URL)
    assert shown.returncode == 0, shown.stderr
    notes = shown.stdout.partition("NOTES:")[2]
    assert "kubectl --namespace orders port-forward service/shop-pgdbm 8000:8000" in notes
    curls = [line.split()[-1] for line in notes.splitlines() if line.lstrip().startswith("curl")]
    assert "exec deployment/shop-pgdbm -- python -m pgdbm_service token create NAME --scope admin" in notes
    assert notes.count('--header "Authorization: Bearer $TOKEN"') == 2
    assert [curl.strip("'").removeprefix("http://127.0.0.1:8000") for curl in curls] == [
        "/health/ready",
        "/modules",
        "/modules/NAME/migrate?require_done=true",
    ]
