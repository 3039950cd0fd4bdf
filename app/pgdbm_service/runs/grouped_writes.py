"""Groups writes of one run in shared transactions: each transaction locks the run's row until its commit is on disk."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from pgdbm.core.connection import RowDict

_MOST_IN_GROUP = 50


class Write(NamedTuple):
    """The statement ``name`` in the owner's file, with its parameters."""

    name: str
    args: tuple[object, ...]


class GroupedWrites:
    """Writes that arrive while a group is being committed form the next group.

    ``commit`` executes several writes in one transaction, and returns the rows of each.
    """

    def __init__(self, commit: Callable[[Sequence[Write]], Awaitable[list[list[RowDict]]]]) -> None:
        self._commit = commit
        self._waiting: list[tuple[Write, asyncio.Future[list[RowDict]]]] = []
        self._working: asyncio.Task[None] | None = None

    @property
    def is_idle(self) -> bool:
        return self._working is None

    async def rows(self, name: str, *args: object) -> list[RowDict]:
        """The rows of a write, once it is committed."""
        written: asyncio.Future[list[RowDict]] = asyncio.get_running_loop().create_future()
        self._waiting.append((Write(name, args), written))
        if self._working is None:
            self._working = asyncio.create_task(self._work(), name="write what schemas of a run have reached")
        return await written

    async def _work(self) -> None:
        group: list[tuple[Write, asyncio.Future[list[RowDict]]]] = []
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:_MOST_IN_GROUP], self._waiting[_MOST_IN_GROUP:]
                await self._write([one for one in group if not one[1].done()])
        except asyncio.CancelledError:
            # Otherwise the callers would wait forever, also if only a connection was cancelled.
            for _, written in group + self._waiting:
                if not written.done():
                    written.set_exception(ConnectionAbortedError("the write was interrupted"))
            self._waiting = []
            raise
        finally:
            self._working = None

    async def _write(self, group: Sequence[tuple[Write, asyncio.Future[list[RowDict]]]]) -> None:
        try:
            answers = await self._commit([write for write, _ in group])
        except Exception as error:
            if len(group) > 1:
                # One write failed, but it must not make the others fail.
                for one in group:
                    await self._write([one])
            elif not group[0][1].done():
                group[0][1].set_exception(error)
        else:
            for (_, written), rows in zip(group, answers, strict=True):
                if not written.done():
                    written.set_result(rows)
