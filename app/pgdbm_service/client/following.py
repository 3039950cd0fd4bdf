"""The position of a client in a run's events; the two clients do the I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx2
import msgspec

from pgdbm.text import sentence

from ..api.runs import MigrateResult, Run, RunEvent
from .call import Call, error_of, read
from .errors import ProblemError, UnexpectedAnswerError
from .retries import Retries

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from .retries import Exchange, Retry

# By default, the service sends a comment every 15 s.
SILENCE_S = 60.0
_RECONNECT_S = 0.5


class Following:
    """The events of ``run_id`` after the number ``after``.

    If the connection ends before the run does, the client reconnects and continues after the last event. It gives up
    after ``retry_for_s`` seconds without a connection.
    """

    def __init__(
        self,
        run_id: UUID | str | None,
        after: int,
        retry_for_s: float,
        on_retry: Callable[[Retry], None] | None = None,
    ) -> None:
        self.is_over = False
        self.run_id = run_id
        self._newest = after
        self._retry_for_s = retry_for_s
        self._on_retry = on_retry
        self._retries = self._new_retries()

    @property
    def call(self) -> Call[Any]:
        """The call whose answer is the rest of the stream, from the current position on."""
        assert self.run_id is not None
        headers = {"Last-Event-ID": str(self._newest)} if self._newest else {}
        path = "/runs/{run_id}/events"
        return Call(method="GET", path=path, parts={"run_id": self.run_id}, headers=headers, answer=RunEvent)

    def is_stream(self, response: httpx2.Response) -> bool:
        """Whether the response is a stream of events; otherwise it is the outcome of the attempt."""
        self.is_over = response.status_code == httpx2.codes.NO_CONTENT
        is_stream: bool = response.headers.get("content-type", "").startswith("text/event-stream")
        if is_stream:
            self._retries.succeeded()
        return is_stream

    def read(self, received: httpx2.ServerSentEvent) -> RunEvent | None:
        """The event; None if it is not an event of the run."""
        if received.event == "closing" or not received.data:
            return None
        try:
            document: dict[str, Any] = msgspec.json.decode(received.data)
            number = int(received.id)
            event = msgspec.convert(document | {"number": number, "kind": received.event}, RunEvent)
        except (msgspec.MsgspecError, ValueError, TypeError) as error:
            raise self._unreadable(error) from error
        self._newest = number
        self.is_over = event.kind == "run_ended"
        return event

    def pause_after(self, outcome: Exchange | None) -> float:
        """Seconds until the next attempt. ``outcome`` is None if the stream ended before the run did.

        Raises:
            ClientError: another attempt would be pointless.
        """
        if outcome is None:
            return _RECONNECT_S
        pause = self._retries.pause_after(outcome)
        if pause is None:
            raise error_of(outcome)
        return max(pause, _RECONNECT_S)

    def _new_retries(self) -> Retries:
        return Retries(self.call, self._retry_for_s, self._on_retry)

    def _unreadable(self, error: Exception) -> UnexpectedAnswerError:
        return UnexpectedAnswerError(sentence(f"{self.call.url}: an event cannot be decoded: {error}"), 200)


class Migrating(Following):
    """The events of the run that the call ``migrate`` starts or joins, and then its result.

    Once the service has named the run, the client continues with that run's events after a lost connection.
    """

    def __init__(self, migrate: Call[Any], retry_for_s: float, on_retry: Callable[[Retry], None] | None = None) -> None:
        self._migrate = migrate
        self.result: MigrateResult | None = None
        super().__init__(None, 0, retry_for_s, on_retry)

    @property
    def call(self) -> Call[Any]:
        return self._migrate if self.run_id is None else super().call

    @property
    def ended_run(self) -> UUID | str:
        """The run, once its events have ended."""
        assert self.run_id is not None
        return self.run_id

    def is_stream(self, response: httpx2.Response) -> bool:
        is_stream = super().is_stream(response)
        location = response.headers.get("location")
        if is_stream and self.run_id is None and location:
            self.run_id = location.rpartition("/")[2]
            self._retries = self._new_retries()
        return is_stream

    def read(self, received: httpx2.ServerSentEvent) -> RunEvent | None:
        if received.event not in ("result", "problem"):
            return super().read(received)
        try:
            if received.event == "problem":
                raise ProblemError(msgspec.json.decode(received.data, type=dict))
            self.result = msgspec.json.decode(received.data, type=MigrateResult)
        except (msgspec.MsgspecError, KeyError) as error:
            raise self._unreadable(error) from error
        self.is_over = True
        return None

    def pause_after(self, outcome: Exchange | None) -> float:
        """As in the base class. An older service answers without events, as it does to a plain call."""
        if self.run_id is None and isinstance(outcome, httpx2.Response) and outcome.is_success:
            answer = read(self._migrate, outcome)
            if isinstance(answer, Run):
                self.run_id = answer.id
                self._retries = self._new_retries()
            else:
                self.result, self.is_over = answer, True
            return 0.0
        return super().pause_after(outcome)
