"""What the values of the chart do: the database in parts, the migrations' sources, and what production adds to pods."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg
import pytest
import yaml

from pgdbm import AsyncDatabaseManager, DatabaseConfig
from pgdbm_service.settings import read_settings, unknown_variables

from .chart import (
    CHART,
    CROSSPLANE,
    EVERYTHING,
    GIT,
    URL,
    USES,
    WITH_SECRET,
    WITH_URL,
    ZALANDO,
    container,
    environment,
    of_kind,
    pod,
)

if TYPE_CHECKING:
    from .chart import Manifest, Values
    from .conftest import Render, Run

ROOT = Path(__file__).parents[2]


def test_the_readme_has_every_value() -> None:
    """``python .ci/chart_readme.py`` writes it."""
    checked = subprocess.run(
        [sys.executable, ROOT / ".ci" / "chart_readme.py", "--check"], capture_output=True, text=True
    )
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("use", USES)
def test_lint_finds_nothing(run: Run, use: str) -> None:
    done = run("lint", "--strict", str(CHART), values=USES[use])
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("values", "secret", "keys"),
    [
        (ZALANDO, "app.orders.credentials.postgresql.acid.zalan.do", {"PGUSER": "username", "PGPASSWORD": "password"}),
        (
            CROSSPLANE,
            "orders-connection",
            {
                "PGHOST": "endpoint",
                "PGPORT": "port",
                "PGUSER": "username",
                "PGPASSWORD": "password",
                "PGDBM_DIRECT_URL": "direct",
            },
        ),
    ],
    ids=["zalando", "crossplane"],
)
def test_the_parts_come_from_the_keys_of_a_secret(
    render: Render, values: Values, secret: str, keys: dict[str, str]
) -> None:
    given = environment(render(values))
    assert given["DATABASE_URL"] == "postgresql://"
    taken = {name: value for name, value in given.items() if isinstance(value, dict)}
    assert taken == {name: {"secretKeyRef": {"name": secret, "key": key}} for name, key in keys.items()}


def test_a_password_in_parts_needs_no_encoding(render: Render, postgres_dsn: str, tmp_path: Path) -> None:
    """The service connects with the variables of the pod, as the Secret has them."""
    password = "p%41 ss/@:?#'\"word"
    server = urlsplit(postgres_dsn)
    assert server.password, "a server without passwords would accept any"
    values = {"database": {**ZALANDO["database"], "host": server.hostname, "port": server.port, "name": "postgres"}}
    values["database"]["sslMode"] = "disable"
    given = environment(render(values)) | {"PGUSER": "in_parts", "PGPASSWORD": password}
    settings = read_settings({**given, "PGDBM_MIGRATIONS_REPO": str(tmp_path)})
    assert list(unknown_variables(given)) == []

    async def connected_as() -> Any:
        owner = await asyncpg.connect(postgres_dsn)
        try:
            await owner.execute(
                "CREATE ROLE in_parts LOGIN PASSWORD "
                + await owner.fetchval("SELECT quote_literal($1::text)", password)
            )
            async with AsyncDatabaseManager(DatabaseConfig(connection_string=settings.database_url)) as db:
                return await db.fetch_value("SELECT current_user::text")
        finally:
            await owner.execute("DROP ROLE IF EXISTS in_parts")
            await owner.close()

    with pytest.MonkeyPatch.context() as patch:
        for name, value in given.items():
            if name.startswith("PG") and not name.startswith("PGDBM"):
                patch.setenv(name, value)
        assert asyncio.run(connected_as()) == "in_parts"


def test_a_ca_bundle_means_verify_full(render: Render) -> None:
    manifests = render(CROSSPLANE)
    given = environment(manifests)
    (mount,) = [mount for mount in container(manifests)["volumeMounts"] if mount["name"] == "database-ca"]
    assert given["PGSSLMODE"] == "verify-full"
    assert given["PGSSLROOTCERT"] == f"{mount['mountPath']}/bundle.pem"
    (volume,) = [volume for volume in pod(manifests)["volumes"] if volume["name"] == "database-ca"]
    assert volume["secret"] == {"secretName": "rds-ca"}
    assert environment(render(ZALANDO))["PGSSLMODE"] == "require"
    assert "PGSSLMODE" not in environment(render(WITH_URL))


def test_git_sync_clones_before_the_service_starts(render: Render) -> None:
    manifests = render(USES["git-sync"])
    (clone,) = pod(manifests)["initContainers"]
    (sidecar,) = [one for one in pod(manifests)["containers"] if one["name"] == "git-sync"]
    assert "--one-time" in clone["args"]
    assert "--one-time" not in sidecar["args"]
    for one in (clone, sidecar):
        assert {f"--repo={GIT['repository']}", "--ref=v1.2", "--link=current", "--submodules=off"} <= set(one["args"])
        assert one["securityContext"]["readOnlyRootFilesystem"] is True
        (root,) = [argument.removeprefix("--root=") for argument in one["args"] if argument.startswith("--root=")]
        written = {mount["mountPath"]: mount["name"] for mount in one["volumeMounts"]}
        assert environment(manifests)["PGDBM_MIGRATIONS_REPO"] == f"{root}/current/db/modules"
        (read,) = [mount for mount in container(manifests)["volumeMounts"] if mount["mountPath"] == root]
        assert (read["name"], read["readOnly"]) == (written[root], True)


def test_an_image_volume_is_mounted_read_only(render: Render) -> None:
    manifests = render(USES["image-volume"])
    (volume,) = [volume for volume in pod(manifests)["volumes"] if volume["name"] == "migrations-repo"]
    assert volume["image"] == {"reference": "registry.example/shop-migrations:1", "pullPolicy": "IfNotPresent"}
    (mount,) = [mount for mount in container(manifests)["volumeMounts"] if mount["name"] == "migrations-repo"]
    assert mount == {
        "name": "migrations-repo",
        "mountPath": "/migrations_repo",
        "readOnly": True,
        "subPath": "migrations",
    }


def test_the_pod_has_what_is_added(render: Render) -> None:
    manifests = render(EVERYTHING)
    spec, service = pod(manifests), container(manifests)
    assert service["envFrom"] == EVERYTHING["extraEnvFrom"]
    assert EVERYTHING["extraEnv"][0] in service["env"]
    assert EVERYTHING["extraVolumeMounts"][0] in service["volumeMounts"]
    assert EVERYTHING["extraVolumes"][0] in spec["volumes"]
    assert [one["name"] for one in spec["initContainers"]] == ["helper"]
    assert [one["name"] for one in spec["containers"]] == ["pgdbm", "sidecar"]
    same = ("nodeSelector", "tolerations", "affinity", "topologySpreadConstraints", "priorityClassName")
    assert {name: spec[name] for name in same} == {name: EVERYTHING[name] for name in same}
    assert spec["securityContext"]["fsGroup"] == 10001
    deployment = of_kind(manifests, "Deployment")
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}
    # A label of the pod overrides a common one.
    assert deployment["spec"]["template"]["metadata"]["labels"]["team"] == "orders"
    assert {manifest["metadata"]["labels"]["team"] for manifest in manifests} == {"platform"}


def test_no_user_id_is_fixed(render: Render) -> None:
    """OpenShift's restricted profile assigns one, and refuses another."""
    for use in ("url", "git-sync"):
        spec = pod(render(USES[use]))
        contexts = [spec["securityContext"]]
        contexts += [one["securityContext"] for one in spec["containers"] + spec.get("initContainers", [])]
        assert not any({"runAsUser", "runAsGroup", "fsGroup"} & set(context) for context in contexts)


def test_an_autoscaler_owns_the_number_of_pods(render: Render) -> None:
    manifests = render(USES["autoscaled"])
    deployment = of_kind(manifests, "Deployment")
    assert "replicas" not in deployment["spec"]
    target = of_kind(manifests, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert target == {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment["metadata"]["name"]}
    budget = of_kind(manifests, "PodDisruptionBudget")["spec"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert budget["selector"]["matchLabels"].items() <= labels.items()
    assert (budget["maxUnavailable"], "minAvailable" in budget) == (1, False)
    assert of_kind(render(EVERYTHING), "PodDisruptionBudget")["spec"]["minAvailable"] == "50%"


@pytest.mark.parametrize("use", ["ingress", "gateway"])
def test_routes_lead_to_the_service(render: Render, use: str) -> None:
    manifests = render(USES[use])
    service = of_kind(manifests, "Service")
    rules = of_kind(manifests, "Ingress" if use == "ingress" else "HTTPRoute")["spec"]["rules"]
    backends: list[Manifest] = [
        backend for rule in rules for backend in rule.get("backendRefs") or _ingress_services(rule)
    ]
    assert backends
    (port,) = service["spec"]["ports"]
    assert {backend["name"] for backend in backends} == {service["metadata"]["name"]}
    assert all(backend["port"] in (port["port"], {"name": port["name"]}) for backend in backends)


def _ingress_services(rule: Manifest) -> list[Manifest]:
    return [path["backend"]["service"] for path in rule["http"]["paths"]]


def test_egress_is_restricted_by_values(render: Render) -> None:
    policy = of_kind(render(EVERYTHING), "NetworkPolicy")["spec"]
    assert (policy["policyTypes"], policy["egress"]) == (["Ingress", "Egress"], EVERYTHING["networkPolicy"]["egress"])
    assert of_kind(render(WITH_URL), "NetworkPolicy")["spec"]["policyTypes"] == ["Ingress"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"service": {"type": "LoadBalancer"}}, "auth.mode is none"),
        ({"ingress": {"enabled": True, "hosts": [{"host": "x"}]}}, "auth.mode is none"),
        ({"httpRoute": {"enabled": True, "parentRefs": [{"name": "x"}]}}, "auth.mode is none"),
    ],
    ids=["load balancer", "ingress", "route"],
)
def test_a_service_without_auth_is_not_published(run: Run, values: Values, said: str) -> None:
    without = {**WITH_SECRET, "auth": {"mode": "none"}, "allowUnauthenticated": True, **values}
    done = run("template", "shop", str(CHART), values=without)
    assert done.returncode != 0
    assert said in done.stderr


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"database": {"url": URL, "secretKeys": {"user": "u"}}},
            "database.secretKeys goes with database.existingSecret",
        ),
        ({"database": {"existingSecret": "x", "secretKeys": {"user": "u"}}}, "set database.host, or"),
        ({"database": {"existingSecret": "x", "host": "db"}}, "database.host goes with database.secretKeys"),
        ({"database": {"url": URL, "caBundle": {"configMap": "a", "secret": "b"}}}, "configMap or database.caBundle"),
        ({**WITH_URL, "migrations": {"gitSync": {"enabled": True}}}, "set migrations.gitSync.repository"),
        (
            {**WITH_URL, "migrations": {"gitSync": GIT, "image": {"reference": "x"}}},
            "set migrations.gitSync or migrations.image, not both",
        ),
        ({**WITH_URL, "ingress": {"enabled": True}}, "set ingress.hosts"),
        ({**WITH_URL, "httpRoute": {"enabled": True}}, "set httpRoute.parentRefs"),
        ({**WITH_URL, "autoscaling": {"enabled": True, "maxReplicas": 1}}, "less than autoscaling.minReplicas"),
        ({**WITH_URL, "autoscaling": {"enabled": True, "targetCPUUtilizationPercentage": 0}}, "autoscaling.metrics"),
    ],
)
def test_contradicting_values_fail_with_one_line(run: Run, values: Values, said: str) -> None:
    done = run("template", "shop", str(CHART), values=values)
    assert done.returncode != 0
    [line] = [line for line in done.stderr.splitlines() if line.startswith("Error:")]
    assert said in line


def misspelled(values: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The path of a misspelled value, for each group of values with fixed names."""
    if not isinstance(values, dict) or not values:
        return []
    return [(*path, "misspelled")] + [
        found for name, value in values.items() for found in misspelled(value, (*path, name))
    ]


# Groups whose content is Kubernetes' or free-form.
_FREE = {"podSecurityContext", "securityContext", "labels", "capabilities", "seccompProfile", "requests", "limits"}
GROUPS = [
    path for path in misspelled(yaml.safe_load((CHART / "values.yaml").read_text())) if not _FREE.intersection(path)
]


@pytest.mark.parametrize("path", GROUPS, ids=".".join)
def test_a_misspelled_name_is_refused_in_each_group(run: Run, path: tuple[str, ...]) -> None:
    wrong: Any = "x"
    for name in reversed(path):
        wrong = {name: wrong}
    values = {**WITH_SECRET, **wrong}
    if path[0] == "database":
        values["database"] = {**WITH_SECRET["database"], **wrong["database"]}
    done = run("template", "shop", str(CHART), values=values)
    assert done.returncode != 0
    assert "misspelled" in done.stderr
