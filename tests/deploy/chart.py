"""Sets of values for the chart, and what is read from the objects that it renders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "pgdbm"
PASSWORD = "s3cret-of-the-test"
URL = f"postgresql://owner:{PASSWORD}@db.example:5432/orders"
DIRECT = f"postgresql://owner:{PASSWORD}@db-direct.example:5432/orders"
RELEASE, NAMESPACE = "shop", "orders"

Values = dict[str, Any]
Manifest = dict[str, Any]

WITH_URL: Values = {"database": {"url": URL}}
WITH_SECRET: Values = {"database": {"existingSecret": "orders-db", "existingSecretKey": "dsn"}}
WATCHED: Values = {
    **WITH_URL,
    "metrics": {
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}, "interval": "15s"},
        "rules": {"enabled": True, "labels": {"release": "prometheus"}, "runbookUrl": "https://docs.example/runbooks/"},
        "dashboard": {"enabled": True, "annotations": {"grafana_folder": "Databases"}},
    },
}
_HELPER: Values = {
    "name": "helper",
    "image": "registry.example/helper:1",
    "securityContext": {"allowPrivilegeEscalation": False},
}
EVERYTHING: Values = {
    "replicaCount": 3,
    "commonLabels": {"team": "platform"},
    "image": {"digest": "sha256:" + "0" * 64, "pullSecrets": [{"name": "registry"}]},
    "database": {"url": URL, "directUrl": DIRECT, "caBundle": {"configMap": "database-ca"}},
    "networkPolicy": {
        "enabled": True,
        "from": [{"namespaceSelector": {"matchLabels": {"team": "orders"}}}],
        "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}],
    },
    "service": {"type": "NodePort", "port": 80, "annotations": {"example.org/owner": "orders"}},
    "migrations": {"existingClaim": "migrations", "subPath": "checkout/migrations_repo"},
    "log": {"level": "debug", "format": "console"},
    "settings": {"PGDBM_MAX_CONNECTIONS": "5"},
    "auth": {"mode": "tokens"},
    "extraEnv": [{"name": "SSL_CERT_FILE", "value": "/etc/extra/ca.crt"}],
    "extraEnvFrom": [{"secretRef": {"name": "more"}}],
    "extraVolumes": [{"name": "extra", "secret": {"secretName": "extra"}}],
    "extraVolumeMounts": [{"name": "extra", "mountPath": "/etc/extra", "readOnly": True}],
    "initContainers": [_HELPER],
    "extraContainers": [_HELPER | {"name": "sidecar"}],
    "serviceAccount": {"create": True, "name": "migrator", "annotations": {"example.org/role": "migrator"}},
    "updateStrategy": {"type": "Recreate", "rollingUpdate": None},
    "podSecurityContext": {"runAsNonRoot": True, "runAsUser": 10001, "fsGroup": 10001},
    "podAnnotations": {"example.org/scrape": "true"},
    "podLabels": {"team": "orders"},
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway"}
    ],
    "priorityClassName": "high",
    "podDisruptionBudget": {"enabled": True, "minAvailable": "50%"},
}
ISSUER: Values = {
    "issuer": "https://kubernetes.default.svc.cluster.local",
    "audience": "pgdbm",
    "subjectScopes": {"system:serviceaccount:shop:*": ["read", "migrate:orders*"], "ops": ["admin"]},
}
ZALANDO: Values = {
    "database": {
        "existingSecret": "app.orders.credentials.postgresql.acid.zalan.do",
        "secretKeys": {"user": "username", "password": "password"},
        "host": "orders",
        "port": 5433,
        "name": "orders",
        "sslMode": "require",
    }
}
CROSSPLANE: Values = {
    "database": {
        "existingSecret": "orders-connection",
        "secretKeys": {"host": "endpoint", "port": "port", "user": "username", "password": "password"},
        "name": "orders",
        "existingSecretDirectUrlKey": "direct",
        "caBundle": {"secret": "rds-ca", "key": "bundle.pem"},
    }
}
GIT: Values = {
    "repository": "https://git.example/shop.git",
    "enabled": True,
    "ref": "v1.2",
    "credentialsSecret": "git",
    "sshSecret": "git-ssh",
    "extraArgs": ["--submodules=off"],
    "resources": {"limits": {"memory": "64Mi"}},
}
# By the name of the golden manifests.
USES: dict[str, Values] = {
    "url": WITH_URL,
    "existing-secret": WITH_SECRET,
    "zalando": ZALANDO,
    "crossplane": CROSSPLANE,
    "no-network-policy": {**WITH_URL, "networkPolicy": {"enabled": False}},
    "no-peers": {**WITH_URL, "networkPolicy": {"from": []}},
    "config-maps": {**WITH_SECRET, "migrations": {"configMaps": {"orders": "orders-sql", "a_b": "ab-sql"}}},
    "git-sync": {**WITH_SECRET, "migrations": {"gitSync": GIT, "subPath": "db/modules"}},
    "image-volume": {
        **WITH_SECRET,
        "migrations": {"image": {"reference": "registry.example/shop-migrations:1"}, "subPath": "migrations"},
    },
    "account-of-others": {**WITH_SECRET, "serviceAccount": {"create": False, "name": "shared"}},
    "no-auth": {**WITH_URL, "auth": {"mode": "none"}, "allowUnauthenticated": True},
    "jwt": {**WITH_SECRET, "auth": {"mode": "jwt", "jwt": ISSUER}},
    "service-accounts": {**WITH_SECRET, "auth": {"mode": "jwt", "jwt": {**ISSUER, "inCluster": True}}},
    "ingress": {
        **WITH_SECRET,
        "ingress": {
            "enabled": True,
            "className": "nginx",
            "annotations": {"nginx.ingress.kubernetes.io/proxy-read-timeout": "3600"},
            "hosts": [{"host": "pgdbm.example.com"}, {"host": "db.example.com", "path": "/pgdbm", "pathType": "Exact"}],
            "tls": [{"secretName": "pgdbm-tls", "hosts": ["pgdbm.example.com"]}],
        },
        "service": {"type": "LoadBalancer"},
    },
    "gateway": {
        **WITH_SECRET,
        "httpRoute": {
            "enabled": True,
            "annotations": {"example.org/owner": "platform"},
            "parentRefs": [{"name": "public", "namespace": "gateways"}],
            "hostnames": ["pgdbm.example.com"],
            "timeouts": {"request": "0s"},
        },
    },
    "autoscaled": {
        **WITH_SECRET,
        "autoscaling": {"enabled": True, "behavior": {"scaleDown": {"stabilizationWindowSeconds": 600}}},
        "podDisruptionBudget": {"enabled": True},
    },
    "watched": WATCHED,
    "everything": EVERYTHING,
}


def of_kind(manifests: list[Manifest], kind: str) -> Manifest:
    [manifest] = [manifest for manifest in manifests if manifest["kind"] == kind]
    return manifest


def pod(manifests: list[Manifest]) -> Manifest:
    spec: Manifest = of_kind(manifests, "Deployment")["spec"]["template"]["spec"]
    return spec


def container(manifests: list[Manifest]) -> Manifest:
    """The container of the service."""
    [one] = [one for one in pod(manifests)["containers"] if one["name"] == "pgdbm"]
    assert isinstance(one, dict)
    return one


def environment(manifests: list[Manifest]) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container(manifests)["env"]}
