"""The limit on failed authentication, with a fake clock."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdbm_service.auth.failure_limiter import FailureLimiter
from pgdbm_service.errors import ServiceError


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def is_refused(limiter: FailureLimiter, address: str, credentials: str = "x") -> bool:
    try:
        limiter.check(address, credentials)
    except ServiceError:
        return True
    return False


def test_the_bucket_empties_by_failures_and_fills_evenly(clock: Clock) -> None:
    limiter = FailureLimiter(2, clock)
    limiter.record_failure("10.0.0.1", "wrong")
    assert not is_refused(limiter, "10.0.0.1")
    limiter.record_failure("10.0.0.1", "wrong")
    assert is_refused(limiter, "10.0.0.1")
    clock.now = 29
    assert is_refused(limiter, "10.0.0.1")
    clock.now = 31
    assert not is_refused(limiter, "10.0.0.1")


def test_the_bucket_never_holds_more_than_a_minute_of_failures(clock: Clock) -> None:
    limiter = FailureLimiter(2, clock)
    clock.now = 3600
    for _ in range(2):
        limiter.record_failure("10.0.0.1", "wrong")
    assert is_refused(limiter, "10.0.0.1")


def test_the_answer_has_the_seconds_to_wait(clock: Clock) -> None:
    limiter = FailureLimiter(6, clock)
    for _ in range(6):
        limiter.record_failure("10.0.0.1", "wrong")
    with pytest.raises(ServiceError) as caught:
        limiter.check("10.0.0.1", "x")
    assert caught.value.code == "too_many_attempts"
    assert caught.value.fields["retry_after"] == 11
    clock.now = 11
    assert not is_refused(limiter, "10.0.0.1")


def test_credentials_that_were_valid_once_are_never_refused(clock: Clock) -> None:
    limiter = FailureLimiter(1, clock)
    limiter.record_success("good")
    limiter.record_failure("10.0.0.1", "wrong")
    assert is_refused(limiter, "10.0.0.1", "other")
    assert not is_refused(limiter, "10.0.0.1", "good")


def test_requests_without_credentials_have_a_bucket_of_their_own(clock: Clock) -> None:
    limiter = FailureLimiter(1, clock)
    limiter.record_missing("10.0.0.1")
    with pytest.raises(ServiceError):
        limiter.record_missing("10.0.0.1")
    assert not is_refused(limiter, "10.0.0.1")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("10.0.0.1", "::ffff:10.0.0.1", True),
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("local", "local", True),
    ],
)
def test_an_ipv6_address_counts_as_its_64_bit_network(clock: Clock, one: str, other: str, same: bool) -> None:
    limiter = FailureLimiter(1, clock)
    limiter.record_failure(one, "wrong")
    assert is_refused(limiter, other) is same


@given(per_minute=st.integers(1, 100), pauses=st.lists(st.floats(0, 10), max_size=50))
def test_no_more_failures_than_the_limit(per_minute: int, pauses: list[float]) -> None:
    """An address never gets more failures than the bucket holds, and other addresses are not affected."""
    now = 0.0
    limiter = FailureLimiter(per_minute, clock=lambda: now)
    checked = 0
    for pause in pauses:
        now += pause
        with contextlib.suppress(ServiceError):
            limiter.check("10.0.0.1", "wrong")
            limiter.record_failure("10.0.0.1", "wrong")
            checked += 1
            continue
        # A client that waits as long as the answer says is checked again.
        with pytest.raises(ServiceError) as refused:
            limiter.check("10.0.0.1", "wrong")
        now += refused.value.fields["retry_after"]
        limiter.check("10.0.0.1", "wrong")
        limiter.record_failure("10.0.0.1", "wrong")
        checked += 1
        limiter.check("10.0.0.2", "wrong")
    assert checked <= per_minute * (1 + now / 60) + 1


def test_addresses_of_one_network() -> None:
    limiter = FailureLimiter(1, clock=lambda: 0.0)
    limiter.record_failure("2001:db8::1", "wrong")
    with pytest.raises(ServiceError):
        limiter.check("2001:db8::ffff:2", "x")
    limiter.check("2001:db8:0:1::1", "x")
    limiter.record_failure("::ffff:10.0.0.1", "wrong")
    limiter.check("::ffff:10.0.0.2", "x")
    for number in range(20_000):
        limiter.record_failure(f"2001:db8:{number:x}::1", "wrong")
    assert len(limiter._buckets) <= 10_000


def test_a_token_that_became_invalid_is_limited_again(clock: Clock) -> None:
    limiter = FailureLimiter(1, clock)
    limiter.record_success("revoked")
    limiter.record_failure("10.0.0.1", "revoked")
    assert is_refused(limiter, "10.0.0.1", "revoked")
