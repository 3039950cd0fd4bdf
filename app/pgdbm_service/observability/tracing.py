"""OpenTelemetry traces: a span per request, run, step and statement. Imported only if traces are enabled.

Litestar's OpenTelemetryPlugin is not used: it needs another package, and names the spans of requests without a route
after their paths.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Self

from opentelemetry import trace
from opentelemetry.propagate import extract
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from opentelemetry.trace import Span, TracerProvider

    from pgdbm.migrations.engine.events import Event

    from ..settings import Settings

    # From ASGI, so it works with any framework.
    Scope = Mapping[str, Any]
    Application = Callable[[Any, Any, Any], Awaitable[None]]


_SCOPE = "pgdbm_service"
# The part of a trace that a run stores, regardless of OTEL_PROPAGATORS: no baggage.
_W3C = TraceContextTextMapPropagator()
_SERVER_ERROR = 500


class Tracing:
    """Creates spans with ``provider``, which ``shut_down`` flushes."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer(_SCOPE)

    def around(self, app: Application) -> Application:
        """``app``, with a span around each of its HTTP requests."""

        async def call(scope: Scope, receive: Any, send: Any) -> None:
            with self._request(scope):
                await app(scope, receive, send)

        return call

    @contextlib.contextmanager
    def _request(self, scope: Scope) -> Iterator[None]:
        """A span for an HTTP request, in the trace that its ``traceparent`` names. The route and the principal are read
        from ``scope`` afterwards."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        method = str(scope.get("method", ""))
        with self._tracer.start_as_current_span(
            method, context=extract(headers), kind=SpanKind.SERVER, record_exception=False
        ) as span:
            carrier: dict[str, str] = {}
            _W3C.inject(carrier)
            scope["state"]["traceparent"] = carrier.get("traceparent")
            try:
                yield
            finally:
                # Known after routing. The path itself is omitted, as in the metrics.
                state: Mapping[str, Any] = scope["state"]
                route = scope.get("path_template")
                if route:
                    span.update_name(f"{method} {route}")
                    span.set_attribute("http.route", route)
                span.set_attributes({"http.request.method": method, "pgdbm.request_id": state["request_id"]})
                if "run_id" in state:
                    span.set_attribute("pgdbm.run_id", state["run_id"])
                status = state.get("http_status", 0)
                if status:
                    span.set_attribute("http.response.status_code", status)
                if status >= _SERVER_ERROR:
                    span.set_status(Status(StatusCode.ERROR))
                if "problem_code" in state:
                    span.set_attribute("error.type", state["problem_code"])

    def run(self, module: str, run_id: str | None = None, traceparent: str | None = None) -> RunTrace:
        """The spans of a run in one schema, below the span that ``traceparent`` names; else below the current one."""
        return RunTrace(self._tracer, module, run_id, traceparent)

    def shut_down(self) -> None:
        """Send what is left. Blocks for as long as the exporter's timeout."""
        shut_down = getattr(self._provider, "shutdown", None)
        if shut_down is not None:
            shut_down()


class RunTrace:
    """A context manager whose block is the span of a run; ``on_event`` is the listener that adds steps and statements.

    In OpenTelemetry's terms a run is a message, and its span a consumer's. It is a child of the request's span, without
    links: usually one request starts a run and waits for it, and the trace of a deployment should contain the run.
    Later requests that join the run have their own traces, with the run's id.

    A span contains neither SQL nor the server's messages, which may quote values: file, number and SQLSTATE identify
    the statement.
    """

    def __init__(
        self, tracer: trace.Tracer, module: str, run_id: str | None = None, traceparent: str | None = None
    ) -> None:
        self._tracer = tracer
        self._module = module
        self._run_id = run_id
        self._traceparent = traceparent
        self._stack = contextlib.ExitStack()
        self._run: Span = trace.INVALID_SPAN
        self._steps: dict[str, Span] = {}
        self._statement: Span | None = None

    def __enter__(self) -> Self:
        attributes = {"pgdbm.module": self._module}
        if self._run_id is not None:
            attributes["pgdbm.run_id"] = self._run_id
        sent_in = None if self._traceparent is None else _W3C.extract({"traceparent": self._traceparent})
        self._run = self._stack.enter_context(
            self._tracer.start_as_current_span(
                f"run {self._module}",
                context=sent_in,
                kind=SpanKind.CONSUMER,
                attributes=attributes,
                record_exception=False,
                set_status_on_exception=False,
            )
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        self._end_all(kind.__name__ if kind is not None else None)
        if kind is not None:
            self._run.set_status(Status(StatusCode.ERROR, kind.__name__))
        self._stack.__exit__(None, None, None)

    def on_event(self, event: Event) -> None:
        """Add ``event`` to the spans."""
        match event.kind:
            case "run_started":
                self._run.set_attributes(
                    {"pgdbm.schema": event.schema, "pgdbm.pending": len(event.details.get("pending", ()))}
                )
            case "waiting_for_runner":
                holder = event.details.get("holder") or {}
                self._run.add_event(event.kind, {"pgdbm.holder_pid": holder.get("pid", 0)})
            case "migration_started":
                self._step(event)
            case "statement_started":
                self._end_statement(None, event)
                self._statement = self._begin(
                    f"statement {event.statement}", self._step(event), event, statement=event.statement
                )
            case "statement_ended":
                self._end_statement(None, event)
            case "blocked" if event.details["blockers"]:
                pids = [blocker["pid"] for blocker in event.details["blockers"]]
                self._working().add_event(event.kind, {"pgdbm.blocker_pids": pids})
            case "retrying":
                self._end_statement(event.details.get("sqlstate"), event)
                attributes = {"pgdbm.attempt": event.details["attempt"], "pgdbm.pause_s": event.details["pause_s"]}
                self._step(event).add_event(event.kind, attributes)
            case "migration_failed":
                self._end_all(event.details.get("sqlstate") or "error")
            case "migration_ended" if event.filename in self._steps:
                self._steps.pop(event.filename).end(_time_of(event))

    def _step(self, event: Event) -> Span:
        """The span of the event's file, which covers all attempts."""
        filename = event.filename or ""
        if filename not in self._steps:
            self._steps[filename] = self._begin(f"step {filename}", self._run, event, statements=event.statements)
        return self._steps[filename]

    def _begin(self, name: str, parent: Span, event: Event, **numbers: int | None) -> Span:
        attributes: dict[str, str | int] = {
            "pgdbm.module": event.module,
            "pgdbm.schema": event.schema,
            "pgdbm.filename": event.filename or "",
        }
        attributes |= {f"pgdbm.{name}": number for name, number in numbers.items() if number is not None}
        context = trace.set_span_in_context(parent)
        return self._tracer.start_span(name, context=context, attributes=attributes, start_time=_time_of(event))

    def _working(self) -> Span:
        return self._statement or self._run

    def _end_statement(self, failure: str | None, event: Event | None = None) -> None:
        if self._statement is not None:
            _end(self._statement, failure, event)
            self._statement = None

    def _end_all(self, failure: str | None) -> None:
        self._end_statement(failure)
        for step in self._steps.values():
            _end(step, failure)
        self._steps.clear()


def _time_of(event: Event) -> int:
    """Nanoseconds. Events of files that shared a message are emitted after the fact."""
    return int(event.at.timestamp() * 1e9)


def _end(span: Span, failure: str | None, event: Event | None = None) -> None:
    if failure is not None:
        span.set_status(Status(StatusCode.ERROR, failure))
        span.set_attribute("error.type", failure)
    span.end(None if event is None else _time_of(event))


def tracing_to(settings: Settings, version: str) -> Tracing:
    """Traces sent to ``settings.traces_url`` as OTLP over HTTP, in the background and in batches."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider as Provider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = Provider(resource=Resource.create({"service.name": _SCOPE, "service.version": version}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.traces_url)))
    return Tracing(provider)
