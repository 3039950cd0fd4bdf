"""Which calls are worth sending again, and when. Pure, but for the clock and some chance."""

from __future__ import annotations

import random
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from .answers import error_of, is_problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from .call import Call
    from .errors import ClientError

Outcome = httpx.Response | httpx.RequestError

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
# Of a gateway, which has no service behind it just now.
_OF_A_GATEWAY = frozenset({502, 503, 504})
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
# What is wrong with the request itself.
_OF_OURS = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)
# Whoever asks this wants to know, and not to wait.
_ANSWERS = frozenset({"not_migrated", "not_ready"})
# Said before anything was begun.
_NOTHING_DONE = frozenset({"busy", "issuer_unavailable", "too_many_attempts"})


@dataclass(frozen=True, slots=True)
class Retry:
    """A call that is going to be sent again in ``pause_s`` seconds, because of ``error``."""

    error: ClientError
    pause_s: float


class Retries:
    """Counts the time for one call: ``retry_for_s`` seconds from the first failure on. 0: never again.

    ``tell`` hears of each retry before its pause.
    """

    def __init__(self, call: Call[Any], retry_for_s: float, tell: Callable[[Retry], None] | None = None) -> None:
        self._call = call
        self._retry_for_s = retry_for_s
        self._tell = tell
        self.succeeded()

    def succeeded(self) -> None:
        """What fails from now on fails for the first time."""
        self._until: float | None = None
        self._next_pause_s = _FIRST_PAUSE_S

    def pause_after(self, outcome: Outcome) -> float | None:
        """Seconds to wait before it is sent again; None: it is not."""
        if not self._is_curable(outcome):
            return None
        now = time.monotonic()
        if self._until is None:
            self._until = now + self._retry_for_s
        pause = max(_asked_for(outcome), self._next_pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
        self._next_pause_s = min(2 * self._next_pause_s, _LONGEST_PAUSE_S)
        if now + pause > self._until:
            return None
        if self._tell is not None:
            self._tell(Retry(error_of(outcome), pause))
        return pause

    def _is_curable(self, outcome: Outcome) -> bool:
        if isinstance(outcome, _NOT_SENT):
            return not _is_about_certificates(outcome)
        if isinstance(outcome, httpx.RequestError):
            return self._call.may_be_repeated and not isinstance(outcome, _OF_OURS)
        if not is_problem(outcome):
            return outcome.status_code in _OF_A_GATEWAY and self._call.may_be_repeated
        if "retry-after" not in outcome.headers:
            return False
        code = getattr(error_of(outcome), "code", None)
        return code in _NOTHING_DONE or (self._call.may_be_repeated and code not in _ANSWERS)


def _asked_for(outcome: Outcome) -> float:
    value = "" if isinstance(outcome, httpx.RequestError) else outcome.headers.get("retry-after", "")
    return float(value) if value.isdecimal() else 0.0


def _is_about_certificates(error: httpx.RequestError) -> bool:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
