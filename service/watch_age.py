"""The age of what a program knows by a watch: a peer that keeps the connection open and sends nothing is
otherwise noticed by nobody."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Gauge


class WatchAge:
    """The time since a watch last had anything from its peer: a list, an event, or a bookmark."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` is monotonic, in seconds."""
        self._clock = clock
        self._heard_at: float | None = None

    def begin(self) -> None:
        """Call it before a watch: the age of the first one counts from here."""
        if self._heard_at is None:
            self.heard()

    def heard(self) -> None:
        """Call it whenever the peer sent something."""
        self._heard_at = self._clock()

    def rest(self) -> None:
        """Call it when there is nothing to watch (another replica leads)."""
        self._heard_at = None

    @property
    def seconds(self) -> float:
        """0 while nothing is watched."""
        return 0.0 if self._heard_at is None else self._clock() - self._heard_at


class WatchMetrics:
    """The gauge of the ages of a program's watches."""

    def __init__(self, registry: CollectorRegistry, program: str) -> None:
        """`program` is the middle part of the series' name, such as `cluster_agent`."""
        self._gauge = Gauge(
            f"vanadium_{program}_watch_silent_seconds",
            "Since a watch last had anything from its peer (a list, an event, a bookmark once a minute).",
            ["watch"],
            registry=registry,
        )

    def follow(self, name: str, age: WatchAge) -> None:
        """Adds a watch, whose age is read at each scrape."""
        self._gauge.labels(name).set_function(lambda: age.seconds)
