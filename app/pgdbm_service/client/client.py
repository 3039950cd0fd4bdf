"""The two clients: the same calls, with and without asyncio."""

from __future__ import annotations

import asyncio
import io
import tarfile
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, TypeVar

import httpx2

from pgdbm.dsn import is_loopback
from pgdbm.version import __version__

from ..api.runs import MigrateResult, Run
from .call import read, result_of
from .endpoints import AsyncSender, Sender
from .following import SILENCE_S, Following, Migrating
from .freeze_calls import FreezeCalls
from .module_calls import ModuleCalls
from .operation_calls import OperationCalls
from .retries import Retries
from .run_calls import RunCalls
from .server import Bearer, checked_address
from .webhook_calls import WebhookCalls

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
    from pathlib import Path
    from typing import Self
    from uuid import UUID

    from ..api.runs import MigrateBody, RunEvent
    from .call import Call, Listing
    from .retries import Exchange, Retry
    from .server import Token


SETTINGS_FILE = "module.toml"


def archive_of(folder: Path) -> bytes:
    """The ``.sql`` files in ``folder`` and its ``module.toml``, as a tar.gz.

    Raises:
        OSError: the folder does not exist, or a file in it cannot be read.
        ValueError: the folder contains no migration.
        pgdbm.MigrationFileError: a file cannot be a migration as it is: its suffix is ``.SQL``, it is a broken link,
            it is in a folder below this one, or its text is not UTF-8.
    """
    from pgdbm.migrations.sources.source import FolderSource

    names = sorted(entry.name for entry in folder.iterdir() if _belongs(entry))
    # The service cannot refuse a file that it is not sent.
    FolderSource(folder).collect()
    if not any(name.endswith(".sql") for name in names):
        raise ValueError(f"{folder} contains no migrations, which are files with names that end with .sql")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name in names:
            content = (folder / name).read_bytes()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def _belongs(entry: Path) -> bool:
    return entry.is_file() and (
        entry.name == SETTINGS_FILE or (entry.name.endswith(".sql") and not entry.name.startswith("."))
    )


T = TypeVar("T")


class Calls(ModuleCalls, RunCalls, FreezeCalls, OperationCalls, WebhookCalls):
    """Every call of the API, except health, metrics and documents."""


class _Options(ABC):
    """The options of both clients; :class:`Client` describes them."""

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
                # Plain HTTP to this machine needs neither a proxy nor certificates, which are slow to load.
                "trust_env": not is_local,
                "verify": False if is_local else verify,
            }
        )

    @abstractmethod
    def _open(self, options: dict[str, Any]) -> None: ...

    def _request(self, http: httpx2.Client | httpx2.AsyncClient, call: Call[Any]) -> httpx2.Request:
        content, media_type = call.content()
        headers = {"Accept": "application/json", "Content-Type": media_type} | dict(call.headers)
        read_timeout_s = None if call.waits_s is None else self._timeout_s + call.waits_s
        return http.build_request(
            call.method,
            call.url,
            params={name: value for name, value in call.query.items() if value is not None},
            headers={name: value for name, value in headers.items() if value is not None},
            content=content,
            timeout=httpx2.Timeout(self._timeout_s, read=read_timeout_s),
        )

    def _retries(self, call: Call[Any]) -> Retries:
        return Retries(call, self._retry_for_s, self._on_retry)

    def _following(self, run_id: UUID | str, after: int) -> Following:
        return Following(run_id, after, self._retry_for_s, self._on_retry)

    def _migrating(self, module: str, body: MigrateBody | None, idempotency_key: str | None) -> Migrating:
        call = ModuleCalls.migrate.describe(module=module, body=body, idempotency_key=idempotency_key)
        return Migrating(call, self._retry_for_s, self._on_retry)

    def _stream_request(self, http: httpx2.Client | httpx2.AsyncClient, following: Following) -> httpx2.Request:
        request = self._request(http, following.call)
        request.headers.update({"Accept": "text/event-stream", "Cache-Control": "no-store"})
        request.extensions["timeout"] = httpx2.Timeout(self._timeout_s, read=SILENCE_S).as_dict()
        return request


class Client(Calls, Sender, _Options):
    """A client of the service at ``server``; a context manager.

    ``token`` may be a function that is called before each request. It is sent only over https or to this machine,
    unless ``allow_http``. ``timeout_s`` is how long the network may take, in addition to the time that the service
    itself waits. A call that failed temporarily is retried for ``retry_for_s`` seconds if that is safe; ``on_retry`` is
    called before each retry.

    Raises:
        ClientError: ``server`` is not a valid address; UnsafeServerError: the token would be sent unencrypted.
    """

    def _open(self, options: dict[str, Any]) -> None:
        self._http = httpx2.Client(**options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def send(self, call: Call[T]) -> T:
        """The answer to ``call``, after retries.

        Raises:
            ProblemError, UnreachableError, UnexpectedAnswerError: the call failed.
        """
        retries = self._retries(call)
        while True:
            outcome = self._outcome(call)
            pause = retries.pause_after(outcome)
            if pause is None:
                return read(call, outcome)
            time.sleep(pause)

    def each(self, listing: Listing[T]) -> Iterator[T]:
        """The items of ``listing``, from all of its pages."""
        rest: Listing[T] | None = listing
        while rest is not None:
            page = self.send(rest.call)
            yield from page.items
            rest = rest.after(page)

    def follow(self, run_id: UUID | str, *, after: int = 0) -> Generator[RunEvent, None, None]:
        """The events of a run after number ``after``, until the run ends.

        A lost connection is reopened, without missing or repeating an event.
        """
        yield from self._events(self._following(run_id, after))

    def stream_migrate(
        self, module: str, body: MigrateBody | None = None, *, idempotency_key: str | None = None
    ) -> Generator[RunEvent | MigrateResult, None, None]:
        """Apply pending migrations: yields the run's events as they happen, and finally its result.

        Raises:
            ProblemError: the call was refused, or the run did not succeed.
        """
        migrating = self._migrating(module, body, idempotency_key)
        yield from self._events(migrating)
        yield migrating.result or result_of(self.get_run(migrating.ended_run))

    def _events(self, following: Following) -> Generator[RunEvent, None, None]:
        while not following.is_over:
            outcome: Exchange | None = None
            try:
                response = self._http.send(self._stream_request(self._http, following), stream=True)
                try:
                    if following.is_stream(response):
                        for received in httpx2.EventSource(response):
                            event = following.read(received)
                            if event is not None:
                                yield event
                    else:
                        response.read()
                        outcome = response
                finally:
                    response.close()
            except httpx2.RequestError as error:
                outcome = error
            if not following.is_over:
                time.sleep(following.pause_after(outcome))

    def wait_for(self, started: MigrateResult | Run | UUID) -> MigrateResult:
        """Wait until a run has ended, and return its result. ``started``: the answer of ``migrate`` or ``retry_run``.

        Raises:
            ProblemError: the run did not succeed.
        """
        if isinstance(started, MigrateResult):
            return started
        run_id = started.id if isinstance(started, Run) else started
        for _ in self.follow(run_id):
            pass
        return result_of(self.get_run(run_id))

    def _outcome(self, call: Call[Any]) -> Exchange:
        try:
            return self._http.send(self._request(self._http, call))
        except httpx2.RequestError as error:
            return error


class AsyncClient(Calls, AsyncSender, _Options):
    """Like :class:`Client`, for asyncio: calls are awaited, lists and events iterated over with ``async for``."""

    def _open(self, options: dict[str, Any]) -> None:
        self._http = httpx2.AsyncClient(**options)

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
        async for event in self._events(self._following(run_id, after)):
            yield event

    async def stream_migrate(
        self, module: str, body: MigrateBody | None = None, *, idempotency_key: str | None = None
    ) -> AsyncGenerator[RunEvent | MigrateResult, None]:
        """See :meth:`Client.stream_migrate`."""
        migrating = self._migrating(module, body, idempotency_key)
        async for event in self._events(migrating):
            yield event
        yield migrating.result or result_of(await self.get_run(migrating.ended_run))

    async def _events(self, following: Following) -> AsyncGenerator[RunEvent, None]:
        while not following.is_over:
            outcome: Exchange | None = None
            try:
                response = await self._http.send(self._stream_request(self._http, following), stream=True)
                try:
                    if following.is_stream(response):
                        async for received in httpx2.EventSource(response):
                            event = following.read(received)
                            if event is not None:
                                yield event
                    else:
                        await response.aread()
                        outcome = response
                finally:
                    await response.aclose()
            except httpx2.RequestError as error:
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

    async def _outcome(self, call: Call[Any]) -> Exchange:
        try:
            return await self._http.send(self._request(self._http, call))
        except httpx2.RequestError as error:
            return error
