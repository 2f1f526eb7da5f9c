"""The metrics of one pod agent, as values; `service.exposition` writes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol

from pod_agent.beginning import Beginning, seconds_since_start
from pod_agent.identity import CurrentIdentity
from service.exposition import Family, counter, gauge

_BLESSED = "Blessed"


class Listener(Protocol):
    """Knows how many connections its limit ended."""

    @property
    def refused(self) -> int: ...


class Metrics:
    """Counts, and reads the rest at each scrape. `last_failure` is the reason why the last attempt to get a
    blessing failed; None after one that succeeded."""

    def __init__(self, current: CurrentIdentity, now: Callable[[], datetime]) -> None:
        self._current = current
        self._now = now
        self._seeks: Counter[str] = Counter()
        self._expiries = 0
        self._rejections = 0
        self.beginning = Beginning(seconds_since_start())
        self.last_failure: str | None = None
        self._listeners: Mapping[str, Listener] = {}

    def count_refused(self, listeners: Mapping[str, Listener]) -> None:
        """Adds the counter of connections that a limit ended; `listeners` are read at each scrape."""
        self._listeners = listeners

    def sought(self, result: str) -> None:
        self._seeks[result] += 1
        self.last_failure = None if result == _BLESSED else result
        if result == _BLESSED:
            self.beginning.done("issued")

    def served(self) -> None:
        self.beginning.done("served")

    def expired(self) -> None:
        self._expiries += 1

    def rejected(self) -> None:
        self._rejections += 1

    def families(self) -> list[Family]:
        identity = self._current.value
        return [
            Family(
                "vanadium_pod_agent_seeks_total",
                "counter",
                "Attempts to get a blessing, by result: Blessed, or the reason of the failure.",
                ("result",),
                {(result,): count for result, count in self._seeks.items()},
            ),
            counter(
                "vanadium_pod_agent_expiries_total",
                "Identities that expired while they were served, because none was renewed in time.",
                self._expiries,
            ),
            counter(
                "vanadium_pod_agent_envoy_rejections_total",
                "Answers of the Secret Discovery Service that an Envoy rejected; the log has its reason.",
                self._rejections,
            ),
            gauge(
                "vanadium_pod_agent_blessing_seconds_left",
                "Seconds until the blessing that is served ends; 0 without one.",
                (identity.not_after - self._now()).total_seconds() if identity else 0.0,
            ),
            gauge(
                "vanadium_pod_agent_blessing_version",
                "How many blessings were served since the start; 0 without a valid one.",
                identity.version if identity else 0.0,
            ),
            gauge(
                "vanadium_pod_agent_renewal_seconds_left",
                "Seconds until the blessing that is served is due to be renewed; negative when that is late.",
                (identity.renew_at - self._now()).total_seconds() if identity else 0.0,
            ),
            self.beginning.family(),
            Family(
                "vanadium_pod_agent_connections_turned_away_total",
                "counter",
                "Connections closed because there were too many, by listener.",
                ("listener",),
                {(name,): listener.refused for name, listener in self._listeners.items()},
            ),
        ]
