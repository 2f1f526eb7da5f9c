"""The age of a watch, with a clock that the test turns."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from service.watch_age import WatchAge, WatchMetrics


def test_the_age_of_a_watch_grows_while_its_peer_is_silent() -> None:
    seconds = 100.0
    age, registry = WatchAge(lambda: seconds), CollectorRegistry()
    WatchMetrics(registry, "cluster_agent").follow("pods", age)

    def shown() -> float | None:
        return registry.get_sample_value("vanadium_cluster_agent_watch_silent_seconds", {"watch": "pods"})

    assert shown() == 0  # nothing is watched yet
    age.begin()
    seconds += 400
    assert shown() == 400
    age.begin()  # a further attempt is no sign of life
    assert shown() == 400
    age.heard()
    assert shown() == 0
    seconds += 50
    age.rest()
    assert shown() == 0
    seconds += 50
    age.begin()
    assert shown() == 0
