"""What Prometheus reads: numbers of this instance, in a registry of the app's own.

Litestar's PrometheusController is not used: it reads the registry of the process, which two apps in one process
would share, and its middleware does not see a request that no route takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from .last_look import RunStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

    from .database import Database
    from .executor import Executor
    from .last_look import LastLook

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# Whatever else a client sends as a method must not become a series.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)
_RUN_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600)
_WAIT_BUCKETS = (0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600)
_RETRY_BUCKETS = (0, 1, 2, 3, 5, 10, 20, 50)


class Metrics:
    """Counts what happens; what is read when somebody asks comes from ``database``, ``executor`` and ``last_look``."""

    def __init__(self, database: Database, executor: Executor, last_look: LastLook) -> None:
        # A second series per counter and histogram, only to say when the process began, is not worth its place.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "pgdbm_http_requests_total",
            "HTTP requests answered.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self._request_seconds = Histogram(
            "pgdbm_http_request_duration_seconds",
            "From the request to the end of its answer.",
            ("method", "route"),
            buckets=_REQUEST_BUCKETS,
            registry=self.registry,
        )
        # By method, route and status: to find them by their labels takes longer than to count.
        self._answers: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._runs = Counter("pgdbm_runs_total", "Runs that ended.", ("module", "status"), registry=self.registry)
        self._run_seconds = Histogram(
            "pgdbm_run_duration_seconds",
            "From the begin of a run to its end, waits included.",
            ("module",),
            buckets=_RUN_BUCKETS,
            registry=self.registry,
        )
        self._applied = Counter(
            "pgdbm_migrations_applied_total",
            "Migrations that this instance has applied.",
            ("module",),
            registry=self.registry,
        )
        self._lock_wait = Histogram(
            "pgdbm_lock_wait_seconds",
            "Each wait of a run for another runner, or of a statement for a lock.",
            ("module",),
            buckets=_WAIT_BUCKETS,
            registry=self.registry,
        )
        self._retries = Counter(
            "pgdbm_retries_total",
            "Attempts that a lock timeout or a deadlock ended and that were made again.",
            ("module",),
            registry=self.registry,
        )
        self._run_retries = Histogram(
            "pgdbm_run_retries",
            "How many times a run had to try again.",
            ("module",),
            buckets=_RETRY_BUCKETS,
            registry=self.registry,
        )
        self.registry.register(_Gauges(database, executor, last_look))
        ProcessCollector(registry=self.registry)
        last_look.on_module = self.known

    def known(self, module: str) -> None:
        """Begin the series of ``module`` at 0: the first failure of one that was never seen would raise no alarm."""
        for status in get_args(RunStatus):
            self._runs.labels(module, status)
        self._applied.labels(module)
        self._retries.labels(module)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """An HTTP request was answered. ``route`` is the template, never the path: ids in it would be series."""
        series = self._answers.get((method, route, status))
        if series is None:
            known = method if method in _METHODS else "other"
            series = (self._requests.labels(known, route, str(status)), self._request_seconds.labels(known, route))
            if known == method:
                self._answers[method, route, status] = series
        requests, request_seconds = series
        requests.inc()
        request_seconds.observe(seconds)

    def run_ended(self, module: str, status: RunStatus, seconds: float, *, applied: int = 0, retries: int = 0) -> None:
        """A run ended after ``seconds``, having applied ``applied`` migrations."""
        self._runs.labels(module, status).inc()
        self._run_seconds.labels(module).observe(seconds)
        self._run_retries.labels(module).observe(retries)
        if applied:
            self._applied.labels(module).inc(applied)

    def lock_waited(self, module: str, seconds: float) -> None:
        """A wait for another runner, or for a lock of other work, is over: with the lock, or without."""
        self._lock_wait.labels(module).observe(seconds)

    def retried(self, module: str, times: int = 1) -> None:
        """A lock timeout or a deadlock ended an attempt, and another follows."""
        self._retries.labels(module).inc(times)

    def text(self) -> bytes:
        """All of it in Prometheus' text format. Asks nobody: it is as fast without a database as with one."""
        return generate_latest(self.registry)


class _Gauges(Collector):
    """What has a value now, read when it is asked for."""

    def __init__(self, database: Database, executor: Executor, last_look: LastLook) -> None:
        self._database = database
        self._executor = executor
        self._last_look = last_look

    def collect(self) -> Iterator[Metric]:
        modules = self._last_look.modules
        pending = GaugeMetricFamily(
            "pgdbm_migrations_pending", "Migrations not applied, over all schemas of the module.", labels=["module"]
        )
        schemas = GaugeMetricFamily("pgdbm_module_schemas", "Schemas that the module is for.", labels=["module"])
        behind = GaugeMetricFamily(
            "pgdbm_schemas_behind", "Schemas of the module with pending migrations.", labels=["module"]
        )
        changed = GaugeMetricFamily(
            "pgdbm_migrations_changed",
            "Applied files that hold something else now, over all schemas of the module.",
            labels=["module"],
        )
        for name, seen in modules.items():
            pending.add_metric([name], seen.pending)
            schemas.add_metric([name], seen.schemas)
            behind.add_metric([name], seen.behind)
            changed.add_metric([name], seen.changed)
        yield from (pending, schemas, behind, changed)
        quiet = GaugeMetricFamily(
            "pgdbm_run_quiet_seconds",
            "How long no event has come of a run of the module that has not ended; of the quietest, or 0.",
            labels=["module"],
        )
        blocked = GaugeMetricFamily(
            "pgdbm_schemas_blocked",
            "Schemas in which a run waits now, for another runner or for a lock.",
            labels=["module"],
        )
        for name, runs in self._last_look.runs.items():
            quiet.add_metric([name], runs.quiet_s)
            blocked.add_metric([name], runs.blocked)
        yield from (quiet, blocked)
        ready = self._last_look.is_well and not self._executor.stopping
        yield GaugeMetricFamily(
            "pgdbm_ready", "1 if the service could do its work at the last look, and is not stopping.", value=ready
        )
        yield GaugeMetricFamily(
            "pgdbm_database_up", "1 if the database answered at the last look.", value=self._last_look.database_up
        )
        yield GaugeMetricFamily(
            "pgdbm_last_look_timestamp_seconds",
            "When pending and behind were last seen, in Unix time; 0 before the first look.",
            value=self._last_look.looked_at,
        )
        yield GaugeMetricFamily(
            "pgdbm_instances", "Running instances of the service on this database.", value=self._last_look.instances
        )
        pool = self._database.pool_numbers()
        yield GaugeMetricFamily("pgdbm_pool_connections", "Connections of the pool.", value=pool.size)
        yield GaugeMetricFamily("pgdbm_pool_connections_used", "Connections that are in use.", value=pool.used)
        yield GaugeMetricFamily("pgdbm_pool_connections_max", "The most that the pool opens.", value=pool.max)
        yield GaugeMetricFamily("pgdbm_runs_migrating", "Runs that migrate now.", value=self._executor.migrating)
        yield GaugeMetricFamily("pgdbm_runs_waiting", "Runs that wait for their turn.", value=self._executor.waiting)
