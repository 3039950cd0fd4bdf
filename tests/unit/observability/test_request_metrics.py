"""Counted requests, compared with the metrics of prometheus_client."""

from __future__ import annotations

import prometheus_client
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from pgdbm_service.observability.request_metrics import RequestMetrics

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)

requests = st.lists(
    st.tuples(
        st.sampled_from(["GET", "POST", "BREW", "PROPFIND"]),
        st.sampled_from(["/modules", "/modules/{module}"]),
        st.sampled_from([200, 404]),
        # Binary fractions, so that their sums do not depend on the order; and the bounds of buckets.
        st.one_of(st.integers(0, 2**16).map(lambda number: number / 2**8), st.sampled_from([0.5, 1.0, 2.5, 60.0])),
    ),
    max_size=50,
)


@given(requests)
def test_the_text_is_that_of_prometheus_client(answered: list[tuple[str, str, int, float]]) -> None:
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    metrics = RequestMetrics()
    ours.register(metrics)
    names = ("method", "route", "status")
    counter = Counter("pgdbm_http_requests_total", "HTTP requests answered.", names, registry=theirs)
    histogram = Histogram(
        "pgdbm_http_request_duration_seconds",
        "From the request to the end of its response.",
        names[:2],
        buckets=BUCKETS,
        registry=theirs,
    )
    for method, route, status, seconds in answered:
        known = method if method in ("GET", "POST") else "other"
        counter.labels(known, route, str(status)).inc()
        histogram.labels(known, route).observe(seconds)
        metrics.answered(method, route, status, seconds)
    assert sorted(generate_latest(ours).splitlines()) == sorted(generate_latest(theirs).splitlines())
