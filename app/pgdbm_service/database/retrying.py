"""Repeats database work after conflicts, and until the database is available."""

from __future__ import annotations

import asyncio
import contextlib
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import structlog

from pgdbm.core.backoff import exponential

from .failures import is_conflict, is_short_of_resources, is_unavailable, service_error_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

P = ParamSpec("P")
T = TypeVar("T")

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0
_LOG_EVERY_S = 60.0

logger = structlog.get_logger("pgdbm_service")


async def repeat_on_conflict(work: Callable[[], Awaitable[T]]) -> T:
    """The result of ``work``, repeated while PostgreSQL rolls it back because of concurrent transactions.

    That is a deadlock or, in a database whose default isolation level is serializable, a serialization failure.
    The caller has to limit the time.
    """
    # Transactions that failed together would fail together again: hence the jitter.
    pauses = exponential(_FIRST_PAUSE_S, _LONGEST_PAUSE_S, jitter=1.0)
    while True:
        try:
            return await work()
        except Exception as error:
            if not is_conflict(error):
                raise
        await asyncio.sleep(next(pauses))


def repeated_on_conflict(work: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """A decorator that repeats ``work`` like :func:`repeat_on_conflict`."""

    @wraps(work)
    async def repeated(*args: P.args, **kwargs: P.kwargs) -> T:
        return await repeat_on_conflict(lambda: work(*args, **kwargs))

    return repeated


async def until_available(work: Callable[[], Awaitable[T]], stopping: asyncio.Event) -> T:
    """The result of ``work``, repeated while the database is unavailable, until ``stopping`` is set."""
    pauses = exponential(_FIRST_PAUSE_S, _LONGEST_PAUSE_S)
    logged = -_LOG_EVERY_S
    while True:
        try:
            return await repeat_on_conflict(work)
        except Exception as error:
            if stopping.is_set() or not is_unavailable(error):
                raise
            now = asyncio.get_running_loop().time()
            # Requests and the readiness check show a server that is away, but most of them do not write.
            if is_short_of_resources(error) and now - logged >= _LOG_EVERY_S:
                logged = now
                problem = service_error_of(error)
                words = problem.fields.get("database_message")
                logger.error("a row is not written yet", reason=problem.detail, database_message=words)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(next(pauses)):
                await stopping.wait()
