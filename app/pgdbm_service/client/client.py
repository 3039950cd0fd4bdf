"""The two clients: the same calls, with and without asyncio."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
from httpx_sse import EventSource

from pgdbm import __version__

from ..runs.structs import MigrateResult, Run
from .answers import read, result_of
from .endpoints import AsyncSender, Sender
from .following import SILENCE_S, Following
from .module_calls import ModuleCalls
from .operation_calls import OperationCalls
from .retries import Retries
from .run_calls import RunCalls
from .server import Bearer, checked_address, is_loopback

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
    from typing import Self
    from uuid import UUID

    from ..runs.structs import RunEvent
    from .call import Call, Listing
    from .retries import Outcome, Retry
    from .server import Token

T = TypeVar("T")


class Calls(ModuleCalls, RunCalls, OperationCalls):
    """Every call of the API, but for health, metrics and documents."""


class _Options(ABC):
    """What both clients are made with: :class:`Client` says what it means."""

    def __init__(
        self,
        server: str,
        token: Token | None = None,
        *,
        allow_http: bool = False,
        timeout_s: float = 30.0,
        retry_for_s: float = 30.0,
        on_retry: Callable[[Retry], None] | None = None,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        self._timeout_s = timeout_s
        self._retry_for_s = retry_for_s
        self._on_retry = on_retry
        address = checked_address(server, with_token=token is not None, allow_http=allow_http)
        is_local = address.scheme == "http" and is_loopback(address.host)
        self._open(
            {
                "base_url": address,
                "auth": None if token is None else Bearer(token),
                "headers": {"User-Agent": f"pgdbm-client/{__version__}"},
                "timeout": timeout_s,
                # To this machine in the clear: through no proxy, and with no certificates, which take a while to load.
                "trust_env": not is_local,
                "verify": False if is_local else verify,
            }
        )

    @abstractmethod
    def _open(self, options: dict[str, Any]) -> None: ...

    def _request(self, http: httpx.Client | httpx.AsyncClient, call: Call[Any]) -> httpx.Request:
        content, media_type = call.content()
        headers = {"Accept": "application/json", "Content-Type": media_type} | dict(call.headers)
        patience = None if call.waits_s is None else self._timeout_s + call.waits_s
        return http.build_request(
            call.method,
            call.url,
            params={name: value for name, value in call.query.items() if value is not None},
            headers={name: value for name, value in headers.items() if value is not None},
            content=content,
            timeout=httpx.Timeout(self._timeout_s, read=patience),
        )

    def _retries(self, call: Call[Any]) -> Retries:
        return Retries(call, self._retry_for_s, self._on_retry)

    def _following(self, run_id: UUID | str, after: int) -> Following:
        return Following(run_id, after, self._retry_for_s, self._on_retry)

    def _stream_request(self, http: httpx.Client | httpx.AsyncClient, following: Following) -> httpx.Request:
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"} | following.headers
        return http.build_request(
            "GET", following.call.url, headers=headers, timeout=httpx.Timeout(self._timeout_s, read=SILENCE_S)
        )


class Client(Calls, Sender, _Options):
    """A client of the service at ``server``; a context manager.

    ``token`` may be a function that is asked before each request. It is sent over https and to this machine only,
    unless ``allow_http``. ``timeout_s`` is how long the network may take; what the service takes on purpose comes on
    top. What a retry can cure, and only where it cannot do harm, is tried again for ``retry_for_s`` seconds, and
    ``on_retry`` is told each time.

    Raises:
        ClientError: ``server`` is no address, or UnsafeServerError.
    """

    def _open(self, options: dict[str, Any]) -> None:
        self._http = httpx.Client(**options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def send(self, call: Call[T]) -> T:
        """The answer to ``call``.

        Raises:
            ProblemError, UnreachableError, UnexpectedAnswerError: see their docstrings.
        """
        retries = self._retries(call)
        while True:
            outcome = self._outcome(call)
            pause = retries.pause_after(outcome)
            if pause is None:
                return read(call, outcome)
            time.sleep(pause)

    def each(self, listing: Listing[T]) -> Iterator[T]:
        """The items of ``listing``, from as many pages as they are on."""
        rest: Listing[T] | None = listing
        while rest is not None:
            page = self.send(rest.call)
            yield from page.items
            rest = rest.after(page)

    def follow(self, run_id: UUID | str, *, after: int = 0) -> Generator[RunEvent, None, None]:
        """What happens in a run, behind the event with the number ``after``, until it ends.

        A connection that is lost is opened anew, and no event is missed or told twice.
        """
        following = self._following(run_id, after)
        while not following.is_over:
            outcome: Outcome | None = None
            try:
                response = self._http.send(self._stream_request(self._http, following), stream=True)
                try:
                    if following.is_stream(response):
                        for received in EventSource(response).iter_sse():
                            event = following.read(received)
                            if event is not None:
                                yield event
                    else:
                        response.read()
                        outcome = response
                finally:
                    response.close()
            except httpx.RequestError as error:
                outcome = error
            if not following.is_over:
                time.sleep(following.pause_after(outcome))

    def wait_for(self, started: MigrateResult | Run | UUID) -> MigrateResult:
        """The result of what ``migrate`` or ``retry_run`` has answered, or of a run, when it has ended.

        Raises:
            ProblemError: why it did not succeed.
        """
        if isinstance(started, MigrateResult):
            return started
        run_id = started.id if isinstance(started, Run) else started
        for _ in self.follow(run_id):
            pass
        return result_of(self.get_run(run_id))

    def _outcome(self, call: Call[Any]) -> Outcome:
        try:
            return self._http.send(self._request(self._http, call))
        except httpx.RequestError as error:
            return error


class AsyncClient(Calls, AsyncSender, _Options):
    """As :class:`Client`, for asyncio: calls are awaited, lists and events iterated over with ``async for``."""

    def _open(self, options: dict[str, Any]) -> None:
        self._http = httpx.AsyncClient(**options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def send(self, call: Call[T]) -> T:
        """See :meth:`Client.send`."""
        retries = self._retries(call)
        while True:
            outcome = await self._outcome(call)
            pause = retries.pause_after(outcome)
            if pause is None:
                return read(call, outcome)
            await asyncio.sleep(pause)

    async def each(self, listing: Listing[T]) -> AsyncIterator[T]:
        """See :meth:`Client.each`."""
        rest: Listing[T] | None = listing
        while rest is not None:
            page = await self.send(rest.call)
            for item in page.items:
                yield item
            rest = rest.after(page)

    async def follow(self, run_id: UUID | str, *, after: int = 0) -> AsyncGenerator[RunEvent, None]:
        """See :meth:`Client.follow`."""
        following = self._following(run_id, after)
        while not following.is_over:
            outcome: Outcome | None = None
            try:
                response = await self._http.send(self._stream_request(self._http, following), stream=True)
                try:
                    if following.is_stream(response):
                        async for received in EventSource(response).aiter_sse():
                            event = following.read(received)
                            if event is not None:
                                yield event
                    else:
                        await response.aread()
                        outcome = response
                finally:
                    await response.aclose()
            except httpx.RequestError as error:
                outcome = error
            if not following.is_over:
                await asyncio.sleep(following.pause_after(outcome))

    async def wait_for(self, started: MigrateResult | Run | UUID) -> MigrateResult:
        """See :meth:`Client.wait_for`."""
        if isinstance(started, MigrateResult):
            return started
        run_id = started.id if isinstance(started, Run) else started
        async for _ in self.follow(run_id):
            pass
        return result_of(await self.get_run(run_id))

    async def _outcome(self, call: Call[Any]) -> Outcome:
        try:
            return await self._http.send(self._request(self._http, call))
        except httpx.RequestError as error:
            return error
