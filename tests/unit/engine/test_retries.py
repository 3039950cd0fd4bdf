"""Waiting until the server can be reached."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest

from pgdbm import ConnectionError
from pgdbm.migrations.engine import retries
from pgdbm.migrations.engine.retries import until_reachable

if TYPE_CHECKING:
    from collections.abc import Iterator

FAILURES = (ConnectionRefusedError("no"), asyncpg.CannotConnectNowError("starting"), ConnectionError("lost"))


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    def pauses() -> Iterator[float]:
        while True:
            yield 0.001

    monkeypatch.setattr(retries, "retry_pauses", pauses)


@pytest.mark.usefixtures("short_pauses")
async def test_it_repeats_the_work_while_the_server_is_away() -> None:
    left = list[Exception](FAILURES)

    async def work() -> str:
        if left:
            raise left.pop()
        return "read"

    assert await until_reachable(work, 60) == "read"


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
async def test_it_raises_the_last_failure_after_the_limit(failure: Exception) -> None:
    attempts = 0

    async def work() -> None:
        nonlocal attempts
        attempts += 1
        await asyncio.sleep(0.01)
        raise failure

    with pytest.raises(type(failure)) as caught:
        await until_reachable(work, 0.1)
    assert caught.value is failure
    assert attempts > 1


async def test_another_error_is_raised_without_another_attempt() -> None:
    attempts = 0

    async def work() -> None:
        nonlocal attempts
        attempts += 1
        raise KeyError("a defect")

    with pytest.raises(KeyError):
        await until_reachable(work, 60)
    assert attempts == 1
