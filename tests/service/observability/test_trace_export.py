"""Exported traces: OTLP over HTTP, to a collector that decodes OpenTelemetry's protocol."""

from __future__ import annotations

import contextlib
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from pgdbm_service.runs.queue import Queue
from tests.support.http_server import served
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECRET = "hunter2-of-the-file"
PIPELINE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Collector:
    """A collector that stores the traces it receives."""

    def __init__(self) -> None:
        self.exports: list[ExportTraceServiceRequest] = []
        self.credentials: set[str | None] = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert (self.path, self.headers["Content-Type"]) == ("/v1/traces", "application/x-protobuf")
                collector.credentials.add(self.headers["Authorization"])
                collector.exports.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.end_headers()
                self.wfile.write(ExportTraceServiceResponse().SerializeToString())

            def log_message(self, *_: Any) -> None:
                pass

        self._serving = contextlib.ExitStack()
        self.url = f"http://127.0.0.1:{self._serving.enter_context(served(Handler))}/v1/traces"

    def close(self) -> None:
        self._serving.close()

    def resources(self) -> list[dict[str, Any]]:
        return [attributes(one.resource) for export in tuple(self.exports) for one in export.resource_spans]

    def spans(self) -> dict[str, Span]:
        """What has arrived, by name."""
        return {
            span.name: span
            for export in tuple(self.exports)
            for resource in export.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        }


def attributes(of: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in of.attributes}


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


def test_the_spans_of_a_run_continue_the_trace_of_the_request(
    start: Callable[..., Any], repo: Any, database: str, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo.write("m", _001_a=f"CREATE TABLE {{{{tables.t}}}} (a text); INSERT INTO {{{{tables.t}}}} VALUES ('{SECRET}')")
    # One accepts the request, exports no traces, and the other executes the run.
    with monkeypatch.context() as patched:
        patched.setattr(Queue, "start", lambda _: None)
        accepting = start()
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20collector")
    start(traces_url=collector.url)
    done = accepting.post("/modules/m/migrate", headers={"traceparent": PIPELINE})
    assert done.status_code == 200, done.text

    eventually(lambda: "run m" in collector.spans())
    spans = collector.spans()
    run, step = spans["run m"], spans["step 001_a.sql"]
    first, second = spans["statement 1"], spans["statement 2"]
    trace_id, caller = PIPELINE.split("-")[1:3]
    assert {one.trace_id.hex() for one in (run, step, first, second)} == {trace_id}
    assert (run.parent_span_id.hex(), run.kind) == (caller, Span.SPAN_KIND_CONSUMER)
    assert step.parent_span_id == run.span_id
    assert first.parent_span_id == second.parent_span_id == step.span_id
    assert attributes(run) == {
        "pgdbm.module": "m", "pgdbm.run_id": done.json()["run_id"], "pgdbm.schema": "m", "pgdbm.pending": 1,
    }  # fmt: skip
    placed = {"pgdbm.module": "m", "pgdbm.schema": "m", "pgdbm.filename": "001_a.sql"}
    assert attributes(step) == placed | {"pgdbm.statements": 2}
    assert attributes(second) == placed | {"pgdbm.statement": 2}
    assert {one["service.name"] for one in collector.resources()} == {"pgdbm_service"}
    assert collector.credentials == {"Bearer collector"}
    sent = b"".join(export.SerializeToString() for export in collector.exports)
    for secret in (SECRET, "CREATE TABLE", urlsplit(database).password or "no password at all"):
        assert secret.encode() not in sent
