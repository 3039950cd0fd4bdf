"""What the log, the metrics and the traces show about a run."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from pgdbm.migrations.engine.events import Event, Listener

    from .metrics import Metrics
    from .sampler import RunStatus
    from .tracing import RunTrace, Tracing

_LOCK_NOT_AVAILABLE = "55P03"
# The problem code of a cancelled run.
_CANCELLED = "run_cancelled"


class Observer:
    """Observes runs, for the log, the metrics and the traces."""

    def __init__(self, metrics: Metrics, tracing: Tracing | None) -> None:
        self._metrics = metrics
        self._tracing = tracing

    @contextlib.contextmanager
    def run(self, module: str, run_id: str | None = None, traceparent: str | None = None) -> Iterator[ObservedRun]:
        """Observe a run of ``module`` in one schema during the block. Log lines in the block name it.

        A block that raises counts as a failed run, a cancelled block as a cancelled run. ``traceparent`` is the one
        from the request that created the run.
        """
        names = {"module": module} | ({} if run_id is None else {"run_id": run_id})
        started = time.perf_counter()
        with contextlib.ExitStack() as stack:
            stack.enter_context(structlog.contextvars.bound_contextvars(**names))
            trace = (
                None if self._tracing is None else stack.enter_context(self._tracing.run(module, run_id, traceparent))
            )
            run = ObservedRun(self._metrics, module, trace)
            try:
                yield run
            except asyncio.CancelledError:
                run.ended("cancelled")
                raise
            except BaseException as error:
                run.ended("cancelled" if getattr(error, "code", None) == _CANCELLED else "failed")
                run.count_attempts_of(error)
                raise
            finally:
                if run.counted:
                    seconds = time.perf_counter() - started
                    self._metrics.run_ended(module, run.status, seconds, applied=run.applied, retries=run.retries)


class ObservedRun:
    """The progress of a run. ``on_event`` is a listener to the engine's events.

    With a listener the engine limits the duration of messages, and reports statements, waits and retries. ``listener``
    is ``on_event`` only for a trace; without it a retry is noticed only if the run fails because of it. A run that is
    not ``counted`` has not ended: it continues elsewhere, or later.
    """

    def __init__(self, metrics: Metrics, module: str, trace: RunTrace | None) -> None:
        self._metrics = metrics
        self._module = module
        self._trace = trace
        self._waiting_since: datetime | None = None
        self._statement_started: datetime | None = None
        self.status: RunStatus = "success"
        self.applied = 0
        self.retries = 0
        self.counted = True

    @property
    def listener(self) -> Listener | None:
        return None if self._trace is None else self.on_event

    def ended(self, status: RunStatus, applied: int = 0) -> None:
        """Record how it ended, and count what it applied."""
        self.status = status
        self.applied += applied

    def on_event(self, event: Event) -> None:
        """Count ``event``, and pass it to the trace."""
        if self._trace is not None:
            self._trace.on_event(event)
        match event.kind:
            case "waiting_for_runner":
                self._waiting_since = self._waiting_since or event.at
                return
            case "blocked" if event.details["blockers"]:
                self._waiting_since = self._waiting_since or self._statement_started or event.at
                return
            case "progress":
                return
            case "retrying" | "migration_failed" if event.details.get("sqlstate") == _LOCK_NOT_AVAILABLE:
                self._waiting_since = self._waiting_since or self._statement_started
        if self._waiting_since is not None:
            self._metrics.lock_waited(self._module, (event.at - self._waiting_since).total_seconds())
            self._waiting_since = None
        if event.kind == "retrying":
            self.retries += 1
            self._metrics.retried(self._module)
        self._statement_started = event.at if event.kind == "statement_started" else None

    def count_attempts_of(self, error: BaseException) -> None:
        """Count the waits and attempts in ``error`` that had no event."""
        cause: BaseException | None = error
        while cause is not None:
            waited_s = getattr(cause, "waited_s", None)
            if isinstance(waited_s, float):
                self._metrics.lock_waited(self._module, waited_s)
                return
            attempts = getattr(cause, "attempts", None)
            if isinstance(attempts, int):
                self._metrics.retried(self._module, max(0, attempts - 1 - self.retries))
                self.retries = max(self.retries, attempts - 1)
                return
            # A problem may have been raised from itself.
            cause = None if cause.__cause__ is cause else cause.__cause__
