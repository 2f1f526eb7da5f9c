"""Token buckets under a clock that the test turns: who is told to wait, and who is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from blessings import Authority, Name, Principal
from cluster_agent import rate_limits
from cluster_agent.callers import Caller
from cluster_agent.errors import TooManyRequests
from cluster_agent.rate_limits import Rate, RateLimits, Rates

RATES = Rates(replica=Rate(1), application=Rate(10), address=Rate(2), administrator=Rate(5))


class Seconds:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def limits(seconds: Seconds) -> RateLimits:
    return RateLimits(RATES, seconds)


def caller(name: str) -> Caller:
    root, *rest = name.split(":")
    now = datetime(2026, 11, 24, tzinfo=UTC)
    authority = Authority.create_root(
        Name.parse(root), Principal.create(), now=now, lifetime=timedelta(days=1)
    )
    blessing = authority.bless(
        Principal.create().public_key, ":".join(rest), now=now, lifetime=timedelta(hours=1)
    )
    return Caller(Name.parse(name), blessing)


REPLICA, ANOTHER = caller("acme:shop:web:web-1"), caller("acme:shop:web:web-2")
CREDENTIAL = caller("vanadium-bootstrap:0123")
ADMINISTRATOR = caller("acme:administrators:alice")


def taken(
    limits: RateLimits,
    who: Caller,
    address: str = "10.0.0.1",
    *,
    tries: int = 1000,
    administers: bool = False,
) -> int:
    """How many requests are let through until one is refused."""
    for number in range(tries):
        try:
            limits.take_for_caller(who, address, administers=administers)
        except TooManyRequests:
            return number
    return tries


def test_a_replica_may_ask_20_times_at_once_and_then_once_a_second(
    limits: RateLimits, seconds: Seconds
) -> None:
    assert taken(limits, REPLICA) == 20
    seconds.now += 1
    assert taken(limits, REPLICA) == 1
    seconds.now += 3600
    assert taken(limits, REPLICA) == 20


def test_a_refusal_says_when_to_try_again_and_then_it_works(limits: RateLimits, seconds: Seconds) -> None:
    slow = RateLimits(Rates(Rate(0.1), Rate(1), Rate(1), Rate(1)), seconds)
    assert taken(slow, REPLICA) == 2
    with pytest.raises(TooManyRequests) as caught:
        slow.take_for_caller(REPLICA, "10.0.0.1", administers=False)
    assert caught.value.retry_after_seconds == 10
    seconds.now += 10
    slow.take_for_caller(REPLICA, "10.0.0.1", administers=False)


def test_asking_while_refused_does_not_make_it_longer(limits: RateLimits, seconds: Seconds) -> None:
    taken(limits, REPLICA)
    for _ in range(100):
        with pytest.raises(TooManyRequests):
            limits.take_for_caller(REPLICA, "10.0.0.1", administers=False)
    seconds.now += 1
    limits.take_for_caller(REPLICA, "10.0.0.1", administers=False)


def test_one_replica_spends_nothing_of_another(limits: RateLimits) -> None:
    assert taken(limits, REPLICA) == 20
    assert taken(limits, ANOTHER) == 20


def test_attack_a_copied_credential_cannot_spend_what_the_applications_pods_need(limits: RateLimits) -> None:
    for _ in range(1000):
        taken(limits, CREDENTIAL, "10.6.6.6", tries=1)
    assert taken(limits, CREDENTIAL, "10.0.0.1") == 40


def test_an_application_as_a_whole_is_limited_too(limits: RateLimits) -> None:
    total = sum(taken(limits, CREDENTIAL, f"10.0.0.{number}") for number in range(100))
    assert total == 200


def test_administrators_have_a_rate_of_their_own(limits: RateLimits) -> None:
    assert taken(limits, REPLICA, administers=True) == 100


def test_somebody_without_a_name_is_limited_by_address(limits: RateLimits) -> None:
    for _ in range(40):
        limits.take_for_address("10.0.0.1")
    with pytest.raises(TooManyRequests):
        limits.take_for_address("10.0.0.1")
    limits.take_for_address("10.0.0.2")


def test_a_refusal_names_the_limit(seconds: Seconds) -> None:
    one = Rate(0.05)  # its burst is one
    few, wide = Rates(one, one, one, one), Rates(one, one, Rate(100), one)
    limits = RateLimits(few, seconds)
    named = [_refusing(limits, who) for who in (REPLICA, CREDENTIAL)]
    named.append(_refusing(limits, ADMINISTRATOR, administers=True))
    named.append(_refusing(RateLimits(wide, seconds), CREDENTIAL))
    assert named == ["rate-replica", "rate-address", "rate-administrator", "rate-application"]


def _refusing(limits: RateLimits, who: Caller, *, administers: bool = False) -> str:
    limits.take_for_caller(who, "10.0.0.1", administers=administers)
    with pytest.raises(TooManyRequests) as caught:
        limits.take_for_caller(who, "10.0.0.1", administers=administers)
    return caught.value.limit


def test_clients_of_long_ago_are_forgotten(limits: RateLimits, seconds: Seconds) -> None:
    for number in range(2000):
        limits.take_for_address(f"address-{number}")
        seconds.now += 1
    assert len(limits._buckets) < 10


def test_a_flood_of_addresses_does_not_fill_the_memory(
    limits: RateLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_limits, "_MOST_BUCKETS", 100)
    for number in range(5000):
        limits.take_for_address(f"address-{number}")
    assert len(limits._buckets) == 100
