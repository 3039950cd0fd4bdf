"""Which failed calls are retried, and when. Pure except for the clock and random jitter."""

from __future__ import annotations

import random
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx2

from .call import error_of, is_problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from .call import Call
    from .errors import ClientError

Exchange = httpx2.Response | httpx2.RequestError
"""How an attempt ended: with an answer, or without one."""

_FIRST_PAUSE_S = 0.2
_MAX_PAUSE_S = 5.0
# A gateway's own answers while it cannot reach a replica.
_GATEWAY_STATUSES = frozenset({502, 503, 504})
_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
# The request itself is invalid.
_INVALID_REQUEST = (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)
# Answers that are a state; retrying would delay them.
_ANSWERS = frozenset({"not_migrated", "not_ready"})
# Refused before anything was started.
_NOTHING_DONE = frozenset({"busy", "issuer_unavailable", "too_many_attempts", "too_many_registrations"})


@dataclass(frozen=True, slots=True)
class Retry:
    """A call will be sent again in ``pause_s`` seconds because of ``error``."""

    error: ClientError
    pause_s: float


class Retries:
    """The retries of one call: for ``retry_for_s`` seconds from the first failure. 0: none.

    ``on_retry`` is called before the pause of each retry.
    """

    def __init__(self, call: Call[Any], retry_for_s: float, on_retry: Callable[[Retry], None] | None = None) -> None:
        self._call = call
        self._retry_for_s = retry_for_s
        self._on_retry = on_retry
        self.succeeded()

    def succeeded(self) -> None:
        """Reset: the next failure counts as the first one."""
        self._until: float | None = None
        self._next_pause_s = _FIRST_PAUSE_S

    def pause_after(self, outcome: Exchange) -> float | None:
        """Seconds until the next attempt; None: there is none."""
        if not self._is_retryable(outcome):
            return None
        now = time.monotonic()
        if self._until is None:
            self._until = now + self._retry_for_s
        pause = max(_retry_after(outcome), self._next_pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
        self._next_pause_s = min(2 * self._next_pause_s, _MAX_PAUSE_S)
        if now + pause > self._until:
            return None
        if self._on_retry is not None:
            self._on_retry(Retry(error_of(outcome), pause))
        return pause

    def _is_retryable(self, outcome: Exchange) -> bool:
        if isinstance(outcome, _NOT_SENT):
            return not _is_about_certificates(outcome)
        if isinstance(outcome, httpx2.RequestError):
            return self._call.may_be_repeated and not isinstance(outcome, _INVALID_REQUEST)
        if not is_problem(outcome):
            return outcome.status_code in _GATEWAY_STATUSES and self._call.may_be_repeated
        if "retry-after" not in outcome.headers:
            return False
        code = getattr(error_of(outcome), "code", None)
        return code in _NOTHING_DONE or (self._call.may_be_repeated and code not in _ANSWERS)


def _retry_after(outcome: Exchange) -> float:
    value = "" if isinstance(outcome, httpx2.RequestError) else outcome.headers.get("retry-after", "")
    return float(value) if value.isdecimal() else 0.0


def _is_about_certificates(error: httpx2.RequestError) -> bool:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
