"""A substitute for the API server of Kubernetes, for helm: it stores objects, and checks them with Kubernetes' schemas.

Nothing is scheduled. The pods of hooks end as ``run_pod`` says, all other objects are ready as soon as they are stored.
"""

from __future__ import annotations

import contextlib
import copy
import json
import threading
import uuid
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, urlsplit

import kubernetes_validate
import yaml

from tests.support.http_server import served

if TYPE_CHECKING:
    from collections.abc import Callable

VERSION = "1.37"
_KINDS = {
    "v1": {"Secret": "secrets", "ConfigMap": "configmaps", "Service": "services", "Pod": "pods"}
    | {"ServiceAccount": "serviceaccounts", "Namespace": "namespaces"},
    "apps/v1": {"Deployment": "deployments"},
    "batch/v1": {"Job": "jobs"},
    "networking.k8s.io/v1": {"NetworkPolicy": "networkpolicies", "Ingress": "ingresses"},
    "policy/v1": {"PodDisruptionBudget": "poddisruptionbudgets"},
    "autoscaling/v2": {"HorizontalPodAutoscaler": "horizontalpodautoscalers"},
}
_VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]

Object = dict[str, Any]


class ApiServer:
    """``with ApiServer(run_pod)``: it listens at ``url``. ``run_pod`` returns whether a pod succeeds."""

    def __init__(self, run_pod: Callable[[Object], bool]) -> None:
        self._run_pod = run_pod
        self._changed = threading.Condition()
        self._objects: dict[tuple[str, str, str], Object] = {}
        self._events: list[tuple[str, str, Object]] = []
        self._stopped = False
        self._serving = contextlib.ExitStack()
        self.url = ""

    def __enter__(self) -> Self:
        self.url = f"http://127.0.0.1:{self._serving.enter_context(served(self._handler()))}"
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._serving.close()

    def objects(self, kind: str) -> dict[str, Object]:
        """The objects of ``kind`` by name."""
        with self._changed:
            return {
                one["metadata"]["name"]: copy.deepcopy(one) for one in self._objects.values() if one["kind"] == kind
            }

    def kubeconfig(self) -> str:
        return yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "test", "cluster": {"server": self.url}}],
                "users": [{"name": "test", "user": {}}],
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
                "current-context": "test",
            }
        )

    def _store(self, collection: tuple[str, str], name: str, sent: Object) -> Object:
        kubernetes_validate.validate(sent, VERSION, strict=True)
        with self._changed:
            key = (*collection, name)
            before = self._objects.get(key)
            stored = copy.deepcopy(sent)
            metadata = stored["metadata"]
            metadata |= {
                "name": name,
                "namespace": collection[1] or None,
                "resourceVersion": str(len(self._events) + 1),
            }
            metadata["uid"] = before["metadata"]["uid"] if before else str(uuid.uuid4())
            metadata["generation"] = 1
            stored["status"] = self._status(stored)
            self._objects[key] = stored
            self._emit("MODIFIED" if before else "ADDED", collection[0], stored)
            return stored

    def _status(self, one: Object) -> Object:
        if one["kind"] == "Pod":
            return {"phase": "Succeeded" if self._run_pod(one) else "Failed"}
        if one["kind"] == "Deployment":
            count = one["spec"].get("replicas", 1)
            condition = {"type": "Available", "status": "True"}
            numbers = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), count)
            return {"observedGeneration": 1, "conditions": [condition], **numbers}
        return {}

    def _delete(self, collection: tuple[str, str], name: str) -> Object | None:
        with self._changed:
            gone = self._objects.pop((*collection, name), None)
            if gone is not None:
                self._emit("DELETED", collection[0], gone)
            return gone

    def _emit(self, event: str, plural: str, one: Object) -> None:
        self._events.append((event, plural, one))
        self._changed.notify_all()

    def _listed(self, collection: tuple[str, str], query: dict[str, list[str]]) -> list[Object]:
        labels = [pair.partition("=") for text in query.get("labelSelector", []) for pair in text.split(",")]
        names = [text.removeprefix("metadata.name=") for text in query.get("fieldSelector", [])]
        return [
            one
            for (plural, namespace, name), one in self._objects.items()
            if plural == collection[0]
            and collection[1] in ("", namespace)
            and (not names or name in names)
            and all(one["metadata"].get("labels", {}).get(label) == value for label, _, value in labels)
        ]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = parse_qs(parts.query)
                document = discovery(parts.path)
                if document is not None:
                    self._answer(document)
                    return
                if not parts.path.startswith(("/api/v1/", "/apis/")) or parts.path.count("/") < 3:
                    self._missing(parts.path)
                    return
                collection, name = place(parts.path)
                if "sendInitialEvents" in query:
                    # The answer of a server that does not support it: the client then lists first.
                    self._answer(status(422, "Invalid", "sendInitialEvents is not supported"), 422)
                elif query.get("watch") in (["true"], ["1"]):
                    self._watch(collection, query)
                elif name:
                    found = server._objects.get((*collection, name))
                    self._answer(found, 200) if found else self._missing(name)
                else:
                    with server._changed:
                        items = server._listed(collection, query)
                        version = str(len(server._events))
                    kind, api_version = of_plural(collection[0])
                    self._answer(
                        {
                            "kind": f"{kind}List",
                            "apiVersion": api_version,
                            "metadata": {"resourceVersion": version},
                            "items": items,
                        }
                    )

            def _wait_for_events(self, number: int) -> None:
                server._changed.wait_for(lambda: len(server._events) > number or server._stopped, 30)

            def _watch(self, collection: tuple[str, str], query: dict[str, list[str]]) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Connection", "close")
                self.end_headers()
                self.close_connection = True
                number = int(query.get("resourceVersion", ["0"])[0] or 0)
                try:
                    while True:
                        with server._changed:
                            self._wait_for_events(number)
                            if server._stopped:
                                return
                            new, number = server._events[number:], len(server._events)
                            wanted = [id(one) for one in server._listed(collection, query)]
                        for event, plural, one in new:
                            if plural == collection[0] and (event == "DELETED" or id(one) in wanted):
                                self.wfile.write(json.dumps({"type": event, "object": one}).encode() + b"\n")
                        self.wfile.flush()
                except OSError:
                    return

            def do_POST(self) -> None:
                collection, _ = place(urlsplit(self.path).path)
                sent = self._body()
                name = sent["metadata"]["name"]
                if (*collection, name) in server._objects:
                    self._answer(status(409, "AlreadyExists", f"{name} exists"), 409)
                    return
                self._stored(collection, name, sent, 201)

            def do_PUT(self) -> None:
                collection, name = place(urlsplit(self.path).path)
                self._stored(collection, name, self._body(), 200)

            def do_PATCH(self) -> None:
                collection, name = place(urlsplit(self.path).path)
                # Server-side apply with one manager: what it sends is the object.
                assert self.headers["Content-Type"] == "application/apply-patch+yaml", self.headers["Content-Type"]
                self._stored(collection, name, self._body(), 200)

            def do_DELETE(self) -> None:
                collection, name = place(urlsplit(self.path).path)
                self._body()
                gone = server._delete(collection, name)
                self._answer(gone, 200) if gone else self._missing(name)

            def _stored(self, collection: tuple[str, str], name: str, sent: Object, code: int) -> None:
                try:
                    stored = server._store(collection, name, sent)
                except kubernetes_validate.ValidationError as error:
                    self._answer(status(422, "Invalid", str(error).splitlines()[0]), 422)
                    return
                self._answer(stored, code)

            def _missing(self, name: str) -> None:
                self._answer(status(404, "NotFound", f"{name} not found"), 404)

            def _body(self) -> Object:
                text = self.rfile.read(int(self.headers["Content-Length"] or 0))
                return yaml.safe_load(text) or {}

            def _answer(self, document: object, code: int = 200) -> None:
                content = json.dumps(document).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def discovery(path: str) -> Object | None:
    """The documents by which clients find the kinds."""
    groups = sorted({version.rpartition("/")[0] for version in _KINDS} - {""})
    if path == "/version":
        minor = VERSION.partition(".")[2]
        return {"major": "1", "minor": minor, "gitVersion": f"v{VERSION}.0", "platform": "linux/amd64"}
    if path == "/openapi/v3":
        return {"paths": {"api/v1": {"serverRelativeURL": "/openapi/v3/api/v1"}}}
    if path == "/openapi/v3/api/v1":
        # A client leaves the validation to a server that has this parameter.
        patch = {
            "x-kubernetes-group-version-kind": {"group": "", "version": "v1", "kind": "Pod"},
            "parameters": [{"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}],
            "responses": {},
        }
        paths = {"/api/v1/namespaces/{namespace}/pods/{name}": {"patch": patch}}
        return {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": VERSION}, "paths": paths}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(group) for group in groups]}
    version = path.removeprefix("/apis/").removeprefix("/api/")
    if version not in _KINDS:
        # Documents that a server may lack: the OpenAPI description, and groups of other versions.
        return None
    resources = [
        {"name": plural, "singularName": kind.lower(), "namespaced": kind != "Namespace", "kind": kind, "verbs": _VERBS}
        for kind, plural in _KINDS[version].items()
    ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}


def _group(name: str) -> Object:
    versions = [
        {"groupVersion": version, "version": version.rpartition("/")[2]}
        for version in _KINDS
        if version.startswith(f"{name}/")
    ]
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def place(path: str) -> tuple[tuple[str, str], str]:
    """The plural and the namespace in ``path``, and the name, if there is one."""
    words = path.strip("/").split("/")
    words = words[2:] if words[0] == "api" else words[3:]
    namespace = ""
    if words[0] == "namespaces" and len(words) > 2:
        namespace, words = words[1], words[2:]
    return (words[0], namespace), words[1] if len(words) > 1 else ""


def of_plural(plural: str) -> tuple[str, str]:
    return next((kind, version) for version, kinds in _KINDS.items() for kind, one in kinds.items() if one == plural)


def status(code: int, reason: str, message: str) -> Object:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
    }
