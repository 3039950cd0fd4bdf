"""Spans, recorded by OpenTelemetry's SDK."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from pgdbm.core.manager import AsyncDatabaseManager
from pgdbm.errors import MigrationError
from pgdbm.migrations import AsyncMigrationManager
from pgdbm_service.observability.tracing import Tracing
from pgdbm_service.settings import SettingsError, read_settings
from tests.support.waiting import eventually

from .retried import retried

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "hunter2"


class Spans:
    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def all(self) -> list[Any]:
        return list(self.exporter.get_finished_spans())

    def named(self, name: str) -> Any:
        """The one span of that name; it ends a moment after the answer was sent."""
        [span] = eventually(lambda: [span for span in self.all() if span.name == name])
        return span


@pytest.fixture
def spans() -> Spans:
    return Spans()


def parent(span: Any) -> int | None:
    return None if span.parent is None else span.parent.span_id


def test_request_run_step_and_statement_have_spans(start: Callable[..., Any], repo: Any, spans: Spans) -> None:
    repo.write(
        "m",
        _001_a=f"CREATE TABLE {{{{tables.t}}}} (a text); INSERT INTO {{{{tables.t}}}} VALUES ('{SECRET}')",
        _002_b="-- pgdbm:no-transaction\nCREATE INDEX CONCURRENTLY i ON {{tables.t}} (a)",
    )
    service = start(tracer_provider=spans.provider)
    spans.exporter.clear()
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01", "X-Request-ID": "mine"}
    assert service.post("/modules/m/migrate", headers=headers).status_code == 200
    request = spans.named("POST /modules/{module}/migrate")
    assert f"{request.context.trace_id:032x}" == trace_id
    assert request.attributes["http.route"] == "/modules/{module}/migrate"
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["pgdbm.request_id"] == "mine"

    run = spans.named("run m")
    assert parent(run) == request.context.span_id
    assert run.kind is SpanKind.CONSUMER
    assert request.attributes["pgdbm.run_id"] == run.attributes["pgdbm.run_id"]
    assert (run.attributes["pgdbm.module"], run.attributes["pgdbm.schema"]) == ("m", "m")
    steps = [spans.named(f"step {name}") for name in ("001_a.sql", "002_b.sql")]
    assert [parent(step) for step in steps] == [run.context.span_id] * 2
    assert [step.attributes["pgdbm.statements"] for step in steps] == [2, 1]
    statements = [span for span in spans.all() if span.name.startswith("statement ")]
    placed = {(parent(span), span.attributes["pgdbm.statement"]) for span in statements}
    first, second = (step.context.span_id for step in steps)
    assert placed == {(first, 1), (first, 2), (second, 1)}
    assert all(span.attributes["pgdbm.filename"] in ("001_a.sql", "002_b.sql") for span in statements)
    assert {span.context.trace_id for span in (run, *steps, *statements)} == {request.context.trace_id}
    everything = [run, request, *steps, *statements]
    for span in everything:
        assert span.end_time is not None
        assert span.start_time <= span.end_time
    reported = json.dumps([json.loads(span.to_json()) for span in spans.all()])
    assert SECRET not in reported
    assert "CREATE TABLE" not in reported


def test_a_failure_is_on_every_span_above_it(start: Callable[..., Any], repo: Any, spans: Spans) -> None:
    repo.write("m", _001_a=f"SELECT 1; SELECT '{SECRET}'::integer")
    service = start(tracer_provider=spans.provider)
    assert service.post("/modules/m/migrate").status_code == 422
    bad, good = spans.named("statement 2"), spans.named("statement 1")
    assert good.status.status_code is StatusCode.UNSET
    for span in (bad, spans.named("step 001_a.sql"), spans.named("run m")):
        assert span.status.status_code is StatusCode.ERROR, span.name
    assert bad.attributes["error.type"] == "22P02"
    request = spans.named("POST /modules/{module}/migrate")
    assert request.attributes["error.type"] == "migration_failed"
    assert SECRET not in json.dumps([json.loads(span.to_json()) for span in spans.all()])


def test_spans_are_not_named_by_paths(start: Callable[..., Any], spans: Spans) -> None:
    service = start(tracer_provider=spans.provider)
    service.get("/nowhere/hunter2")
    assert "hunter2" not in spans.named("GET").to_json()


async def test_retries_are_events_of_the_step(database: str, spans: Spans) -> None:
    with Tracing(spans.provider).run("m", "run-1") as run:
        await retried(database, run)
    step = spans.named("step 001_a.sql")
    assert step.status.status_code is StatusCode.UNSET
    assert {event.name for event in step.events} == {"retrying"}
    attempts = [span for span in spans.all() if span.name == "statement 2"]
    assert len(attempts) == len(step.events) + 1
    assert [span.attributes.get("error.type") for span in attempts] == ["55P03"] * len(step.events) + [None]
    assert spans.named("run m").attributes["pgdbm.run_id"] == "run-1"


async def test_spans_of_an_atomic_run_all_end(database: str, spans: Spans) -> None:
    files = {"001_a.sql": "SELECT 1", "002_b.sql": "SELECT 1 / 0", "003_c.sql": "SELECT 3"}
    async with asyncpg.create_pool(database, min_size=0) as pool:
        db = AsyncDatabaseManager(pool=pool, schema="public")
        with pytest.raises(MigrationError), Tracing(spans.provider).run("m") as run:
            await AsyncMigrationManager(db, files, "m", on_event=run.on_event).apply_pending_migrations(atomic="all")
    for name in ("run m", "step 001_a.sql", "step 002_b.sql"):
        assert spans.named(name).status.status_code is StatusCode.ERROR


def test_nothing_is_imported_unless_it_is_configured(launch: Callable[..., Any]) -> None:
    program = (
        "import sys; from pgdbm_service.asgi import create_app; from pgdbm_service.settings import Settings;"
        "app = create_app(Settings()); assert app.front.tracing is None;"
        # Litestar itself takes names from the API, where that is installed.
        "assert not {'pgdbm_service.observability.tracing', 'opentelemetry.sdk', "
        "'opentelemetry.exporter'} & set(sys.modules)"
    )
    process = launch("-W", "ignore", "-c", program)
    assert process.wait() == 0, process.err


def test_a_missing_extra_is_named_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"DATABASE_URL": "postgresql://h/d", "PGDBM_TRACES_URL": "http://collector:4318/v1/traces"}
    assert read_settings(variables).traces_url == "http://collector:4318/v1/traces"
    with pytest.raises(SettingsError, match=r"^PGDBM_TRACES_URL is not of the form") as caught:
        read_settings(variables | {"PGDBM_TRACES_URL": f"http://user:{SECRET}@collector/v1"})
    assert SECRET not in str(caught.value)
    for name in [name for name in sys.modules if name.partition(".")[0] == "opentelemetry"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    with pytest.raises(SettingsError, match=r"pgdbm\[otel\]"):
        read_settings(variables)
