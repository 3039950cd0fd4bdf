"""Where a client is in the events of a run. The two clients do the I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import msgspec

from ..runs.structs import RunEvent
from .answers import error_of
from .call import Call
from .errors import UnexpectedAnswerError
from .retries import Retries

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from httpx_sse import ServerSentEvent

    from .retries import Outcome, Retry

# The service breaks a silence with a comment: every 15 s, unless it is set otherwise.
SILENCE_S = 60.0
_RECONNECT_S = 0.5


class Following:
    """The events of ``run_id`` behind the one with the number ``after``.

    A connection that ends before the run does is opened anew where it was; after ``retry_for_s`` seconds without any,
    that is given up.
    """

    def __init__(
        self, run_id: UUID | str, after: int, retry_for_s: float, tell: Callable[[Retry], None] | None = None
    ) -> None:
        self.is_over = False
        self.call: Call[Any] = Call(
            method="GET", path="/runs/{run_id}/events", parts={"run_id": run_id}, answer=RunEvent
        )
        self._newest = after
        self._retries = Retries(self.call, retry_for_s, tell)

    @property
    def headers(self) -> dict[str, str]:
        """Where to go on."""
        return {"Last-Event-ID": str(self._newest)} if self._newest else {}

    def is_stream(self, response: httpx.Response) -> bool:
        """Whether events come; otherwise the response is the outcome of the attempt."""
        self.is_over = response.status_code == httpx.codes.NO_CONTENT
        is_stream: bool = response.headers.get("content-type", "").startswith("text/event-stream")
        if is_stream:
            self._retries.succeeded()
        return is_stream

    def read(self, received: ServerSentEvent) -> RunEvent | None:
        """The event, if it is one of the run."""
        if received.event == "closing" or not received.data:
            return None
        try:
            document: dict[str, Any] = msgspec.json.decode(received.data)
            number = int(received.id)
            event = msgspec.convert(document | {"number": number, "kind": received.event}, RunEvent)
        except (msgspec.MsgspecError, ValueError, TypeError) as error:
            raise UnexpectedAnswerError(f"{self.call.url}: an event that cannot be read: {error}.", 200) from error
        self._newest = number
        self.is_over = event.kind == "run_ended"
        return event

    def pause_after(self, outcome: Outcome | None) -> float:
        """Seconds until the next attempt. None: the stream has ended, though the run has not.

        Raises:
            ClientError: there is no use in one.
        """
        if outcome is None:
            return _RECONNECT_S
        pause = self._retries.pause_after(outcome)
        if pause is None:
            raise error_of(outcome)
        return max(pause, _RECONNECT_S)
