"""The order in which the hosts of a connection string are tried."""

from __future__ import annotations

import asyncpg
import pytest

from pgdbm.core.hosts import Hosts

A, B, C = ("a", 1), ("b", 2), ("c", 3)


class Attempts:
    """Connects to ``up``; records what was tried."""

    def __init__(self, *up: tuple[str, int], error: Exception | None = None) -> None:
        self.up = up
        self.error = error or OSError("refused")
        self.tried: list[tuple[str, int]] = []
        self.seconds: list[float] = []

    async def __call__(self, host: str, port: int, seconds: float) -> tuple[str, int]:
        self.tried.append((host, port))
        self.seconds.append(seconds)
        if (host, port) not in self.up:
            raise self.error
        return host, port


async def test_hosts_are_tried_in_order_until_one_connects() -> None:
    attempts = Attempts(B, C)
    assert await Hosts((A, B, C), None).first(attempts, 9.0, (OSError,)) == B
    assert attempts.tried == [A, B]


async def test_each_host_has_an_equal_share_of_the_time() -> None:
    attempts = Attempts(C)
    await Hosts((A, B, C), None).first(attempts, 9.0, (OSError,))
    assert [round(seconds) for seconds in attempts.seconds] == [3, 4, 9]


@pytest.mark.parametrize("wanted", ["primary", "read-write"])
async def test_the_primary_is_tried_first_the_next_time(wanted: str) -> None:
    hosts = Hosts((A, B, C), wanted)
    await hosts.first(Attempts(C), 9.0, (OSError,))
    again = Attempts(C)
    assert await hosts.first(again, 9.0, (OSError,)) == C
    assert again.tried == [C]


@pytest.mark.parametrize("wanted", [None, "any", "standby"])
async def test_the_order_stays_where_several_hosts_qualify(wanted: str | None) -> None:
    hosts = Hosts((A, B), wanted)
    await hosts.first(Attempts(B), 9.0, (OSError,))
    again = Attempts(A, B)
    assert await hosts.first(again, 9.0, (OSError,)) == A


async def test_the_most_informative_error_is_raised() -> None:
    class Mixed(Attempts):
        async def __call__(self, host: str, port: int, seconds: float) -> tuple[str, int]:
            if host == "a":
                raise asyncpg.TargetServerAttributeNotMatched("a standby")
            raise ConnectionRefusedError("b is down")

    with pytest.raises(ConnectionRefusedError, match="b is down"):
        await Hosts((A, B), "primary").first(Mixed(), 9.0, (OSError, asyncpg.TargetServerAttributeNotMatched))


async def test_another_error_is_raised_without_trying_the_rest() -> None:
    attempts = Attempts(error=KeyError("x"))
    with pytest.raises(KeyError):
        await Hosts((A, B), None).first(attempts, 9.0, (OSError,))
    assert attempts.tried == [A]


def test_prefer_standby_is_left_to_asyncpg() -> None:
    assert not Hosts((A, B), "prefer-standby").are_several
    assert Hosts((A, B), "standby").are_several
    assert not Hosts((A,), None).are_several


async def test_shuffled_hosts_are_each_tried_once() -> None:
    orders = set()
    for _ in range(50):
        attempts = Attempts()
        with pytest.raises(OSError, match="refused"):
            await Hosts((A, B, C), None, shuffled=True).first(attempts, 9.0, (OSError,))
        assert sorted(attempts.tried) == [A, B, C]
        orders.add(tuple(attempts.tried))
    assert len(orders) > 1
