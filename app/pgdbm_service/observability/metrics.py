"""The Prometheus metrics of this replica, in the app's own registry.

Litestar's PrometheusController is not used: it reads the registry of the process, which two apps in one process
would share, and its middleware does not see requests without a route.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from pgdbm.version import __version__

from .request_metrics import RequestMetrics
from .sampler import RunStatus

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client.metrics_core import Metric

    from ..database.logins import LoginNumbers
    from ..database.pool import Database
    from ..database.slots import Slots
    from .sampler import StateSampler

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_RUN_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600)
_WAIT_BUCKETS = (0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600)
_RETRY_BUCKETS = (0, 1, 2, 3, 5, 10, 20, 50)


class Metrics:
    """Counts events; gauges are read from ``database``, ``executor`` and ``sampler`` at each scrape."""

    def __init__(self, database: Database, executor: Slots, sampler: StateSampler, revision: str | None = None) -> None:
        # Disables the additional series with the creation time of each counter and histogram.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        build = Gauge(
            "pgdbm_build_info",
            "Always 1; the labels are the version of the service and the revision of its image.",
            ("version", "revision"),
            registry=self.registry,
        )
        build.labels(__version__, revision or "").set(1)
        self.requests = RequestMetrics()
        self.registry.register(self.requests)
        self._runs = Counter("pgdbm_runs_total", "Runs that ended.", ("module", "status"), registry=self.registry)
        self._run_seconds = Histogram(
            "pgdbm_run_duration_seconds",
            "From the start of a run to its end, waits included.",
            ("module",),
            buckets=_RUN_BUCKETS,
            registry=self.registry,
        )
        self._applied = Counter(
            "pgdbm_migrations_applied_total",
            "Migrations that this replica has applied.",
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
        self._webhooks = Counter(
            "pgdbm_webhook_deliveries_total",
            "Attempts of this replica to deliver to webhooks.",
            ("outcome",),
            registry=self.registry,
        )
        for outcome in ("delivered", "failed", "dropped"):
            self._webhooks.labels(outcome)
        self._retries = Counter(
            "pgdbm_retries_total",
            "Attempts that ended with a lock timeout or a deadlock and were repeated.",
            ("module",),
            registry=self.registry,
        )
        self._run_retries = Histogram(
            "pgdbm_run_retries",
            "Number of retries in a run.",
            ("module",),
            buckets=_RETRY_BUCKETS,
            registry=self.registry,
        )
        self.registry.register(_Gauges(database, executor, sampler))
        ProcessCollector(registry=self.registry)
        sampler.on_module = self.known

    def known(self, module: str) -> None:
        """Start the series of ``module`` at 0: otherwise the first failure would not be an increase."""
        for status in get_args(RunStatus):
            self._runs.labels(module, status)
        self._applied.labels(module)
        self._retries.labels(module)

    def webhook_attempted(self, outcome: str) -> None:
        """Count an attempt: ``delivered``, ``failed`` or ``dropped``."""
        self._webhooks.labels(outcome).inc()

    def run_ended(self, module: str, status: RunStatus, seconds: float, *, applied: int = 0, retries: int = 0) -> None:
        """Count a run that ended after ``seconds`` and applied ``applied`` migrations."""
        self._runs.labels(module, status).inc()
        self._run_seconds.labels(module).observe(seconds)
        self._run_retries.labels(module).observe(retries)
        if applied:
            self._applied.labels(module).inc(applied)

    def lock_waited(self, module: str, seconds: float) -> None:
        """Count a wait for another runner or for a lock that has ended, whether or not the lock was acquired."""
        self._lock_wait.labels(module).observe(seconds)

    def retried(self, module: str, times: int = 1) -> None:
        """Count attempts that ended with a lock timeout or a deadlock and are repeated."""
        self._retries.labels(module).inc(times)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format. Does not use the database."""
        return generate_latest(self.registry)


class _Gauges(Collector):
    """The gauges, read at each scrape."""

    def __init__(self, database: Database, executor: Slots, sampler: StateSampler) -> None:
        self._database = database
        self._executor = executor
        self._sampler = sampler

    def collect(self) -> Iterator[Metric]:
        self._sampler.note_read()
        modules = self._sampler.modules
        pending = GaugeMetricFamily(
            "pgdbm_migrations_pending",
            "Migrations that are not applied, in all schemas of the module.",
            labels=["module"],
        )
        schemas = GaugeMetricFamily("pgdbm_module_schemas", "Schemas of the module.", labels=["module"])
        behind = GaugeMetricFamily(
            "pgdbm_schemas_behind", "Schemas of the module with pending migrations.", labels=["module"]
        )
        changed = GaugeMetricFamily(
            "pgdbm_migrations_changed",
            "Applied files whose content has changed since, in all schemas of the module.",
            labels=["module"],
        )
        invalid = GaugeMetricFamily(
            "pgdbm_invalid_indexes", "INVALID indexes in the schemas of the module.", labels=["module"]
        )
        for name, seen in modules.items():
            invalid.add_metric([name], seen.invalid_indexes)
            pending.add_metric([name], seen.pending)
            schemas.add_metric([name], seen.schemas)
            behind.add_metric([name], seen.behind)
            changed.add_metric([name], seen.changed)
        yield from (pending, schemas, behind, changed, invalid)
        quiet = GaugeMetricFamily(
            "pgdbm_run_quiet_seconds",
            "Longest time without an event of the module's runs that have not ended; 0 without such a run.",
            labels=["module"],
        )
        blocked = GaugeMetricFamily(
            "pgdbm_schemas_blocked",
            "Schemas in which a run waits for another runner or for a lock.",
            labels=["module"],
        )
        unapproved = GaugeMetricFamily(
            "pgdbm_runs_waiting_for_approval", "Runs of the module that wait for approvals.", labels=["module"]
        )
        held = GaugeMetricFamily(
            "pgdbm_runs_held",
            "Runs of the module that are held: before their start time, during a freeze, or outside its windows.",
            labels=["module"],
        )
        for name, runs in self._sampler.runs.items():
            quiet.add_metric([name], runs.quiet_s)
            blocked.add_metric([name], runs.blocked)
            unapproved.add_metric([name], runs.waiting_for_approval)
            held.add_metric([name], runs.held)
        yield from (quiet, blocked, unapproved, held)
        ready = self._sampler.is_ready and not self._executor.stopping
        yield GaugeMetricFamily(
            "pgdbm_ready", "1 if the service was ready at the last sample and is not stopping.", value=ready
        )
        yield GaugeMetricFamily(
            "pgdbm_database_up",
            "1 if the service could use the database at the last sample.",
            value=self._sampler.database_up,
        )
        yield GaugeMetricFamily(
            "pgdbm_last_sample_timestamp_seconds",
            "Unix time of the last sample; 0 before the first.",
            value=self._sampler.sampled_at,
        )
        yield GaugeMetricFamily(
            "pgdbm_replicas", "Replicas of the service that run on this database.", value=self._sampler.replicas
        )
        pool = self._database.pool_numbers()
        yield GaugeMetricFamily("pgdbm_pool_connections", "Connections of the pool.", value=pool.size)
        yield GaugeMetricFamily("pgdbm_pool_connections_used", "Connections in use.", value=pool.used)
        yield GaugeMetricFamily("pgdbm_pool_connections_max", "The maximum size of the pool.", value=pool.max)
        yield from _of_logins(self._database.login_numbers())
        yield GaugeMetricFamily("pgdbm_runs_migrating", "Runs that are migrating.", value=self._executor.migrating)
        yield GaugeMetricFamily("pgdbm_runs_waiting", "Runs that wait for a slot.", value=self._executor.waiting)


def _of_logins(numbers: Mapping[str, LoginNumbers]) -> Iterator[Metric]:
    up = GaugeMetricFamily(
        "pgdbm_login_up",
        "0 if the last attempt to connect with the database login of a module was refused.",
        labels=["login"],
    )
    size = GaugeMetricFamily("pgdbm_login_connections", "Connections of the login.", labels=["login"])
    used = GaugeMetricFamily("pgdbm_login_connections_used", "Connections in use.", labels=["login"])
    for login, one in numbers.items():
        up.add_metric([login], one.refusal is None)
        size.add_metric([login], one.size)
        used.add_metric([login], one.used)
    yield from (up, size, used)
