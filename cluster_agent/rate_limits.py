"""Rate limits for clients: token buckets, by proven name and by address, or network of IPv6 addresses.

A bucket contains the requests that its client may make at once, and is refilled at its rate. A bucket that is
full again is forgotten, so memory grows with the clients of the last moments and not with the fleet.
https://en.wikipedia.org/wiki/Token_bucket
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from cluster_agent.callers import Caller
from cluster_agent.errors import Limit, TooManyRequests
from service.addresses import network_of
from service.token_bucket import TokenBucket

BEYOND_RATE = "TooManyRequests"  # the reason of the refusal
BURST_SECONDS = 20
_MOST_BUCKETS = 50_000


@dataclass(frozen=True)
class Rate:
    """Requests per second; after a pause, BURST_SECONDS' worth of them at once."""

    per_second: float

    @property
    def burst(self) -> float:
        return max(1.0, self.per_second * BURST_SECONDS)


@dataclass(frozen=True)
class Rates:
    """The rates for each kind of client."""

    replica: Rate
    application: Rate
    address: Rate
    administrator: Rate


class RateLimits:
    """The buckets of all clients. `monotonic` is a clock in seconds."""

    def __init__(self, rates: Rates, monotonic: Callable[[], float]) -> None:
        self._rates = rates
        self._monotonic = monotonic
        self._buckets: OrderedDict[tuple[str, ...], TokenBucket] = OrderedDict()

    def take_for_caller(self, caller: Caller, address: str, *, administers: bool) -> None:
        """Counts one request. Raises TooManyRequests.

        All replicas of an application have one bootstrap credential. An attacker who stole it must not be
        able to use up what they need to start, so each address has its own share of that credential's rate.
        """
        name = str(caller.name)
        if caller.holds_bootstrap_credential:
            self._take((name, network_of(address)), self._rates.address, "rate-address")
            self._take((name,), self._rates.application, "rate-application")
        elif administers:
            self._take((name,), self._rates.administrator, "rate-administrator")
        else:
            self._take((name,), self._rates.replica, "rate-replica")

    def take_for_address(self, address: str) -> None:
        """Counts one request of a client without a name. Raises TooManyRequests."""
        self._take(("", network_of(address)), self._rates.address, "rate-address")

    def _take(self, client: tuple[str, ...], rate: Rate, limit: Limit) -> None:
        now = self._monotonic()
        bucket = self._buckets.pop(client, None) or TokenBucket.full(rate.per_second, rate.burst, now)
        bucket.per_second, bucket.burst = rate.per_second, rate.burst
        self._buckets[client] = bucket
        seconds = bucket.take(now)
        self._forget(now)
        if seconds:
            wait = math.ceil(seconds)
            raise TooManyRequests(
                BEYOND_RATE,
                f"more than {rate.per_second:g} requests a second for a while; wait {wait} s",
                limit=limit,
                retry_after_seconds=wait,
            )

    def _forget(self, now: float) -> None:
        """Drops full buckets, the least recently used first, a few at each call; or any when there are too
        many."""
        for _ in range(2):
            client, bucket = next(iter(self._buckets.items()))
            if bucket.is_full(now) or len(self._buckets) > _MOST_BUCKETS:
                del self._buckets[client]
                if not self._buckets:
                    return
            else:
                return
